// What has no place on an arrow: duplicates, the oldest event, bills and letters put aside.
import { count, duration } from "../format";
import { live } from "../state/store";

export function FlowFigures() {
  const flow = live.value?.flow;
  if (!flow) return null;
  const oldest = flow.oldest_wallet_ms === null && flow.oldest_bill_ms === null ? null : Math.max(flow.oldest_wallet_ms ?? 0, flow.oldest_bill_ms ?? 0);
  return (
    <dl class="figures">
      <Figure term="oldest event waiting" value={oldest === 0 ? "none" : duration(oldest)} />
      <Figure term="duplicates absorbed" value={count(flow.duplicates)} />
      <Figure term="bills open" value={count(flow.bills_open)} />
      <Figure term="bills parked" value={count(flow.bills_parked)} />
      <Figure term="dead letters" value={count(flow.dead_letters)} />
    </dl>
  );
}

export function Figure({ term, value, look = "" }: { term: string; value: string; look?: string }) {
  return (
    <div class={look}>
      <dt>{term}</dt>
      <dd>{value}</dd>
    </div>
  );
}
