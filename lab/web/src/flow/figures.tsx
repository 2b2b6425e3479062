// What has no place on an arrow: duplicates, the oldest event, bills and letters put aside.
import { count, duration } from "../format";
import { live } from "../state/store";

export function FlowFigures() {
  const flow = live.value?.flow;
  if (!flow) return null;
  const oldest = flow.oldest_wallet_ms === null && flow.oldest_bill_ms === null ? null : Math.max(flow.oldest_wallet_ms ?? 0, flow.oldest_bill_ms ?? 0);
  return (
    <dl class="figures">
      <Figure term="oldest event waiting" about="age of the oldest row in the two outboxes" value={oldest === 0 ? "none" : duration(oldest)} />
      <Figure term="duplicates absorbed" about="messages that came again, and changed nothing, since the lab was started" value={count(flow.duplicates)} />
      <Figure term="bills open" about="bills that bill-payer is paying or cancelling" value={count(flow.bills_open)} />
      <Figure term="bills parked" about="bills that wait for a person's decision" value={count(flow.bills_parked)} />
      <Figure term="dead letters" about="messages that both services put aside and nobody has dealt with" value={count(flow.dead_letters)} />
    </dl>
  );
}

/** `about` says what is counted. */
export function Figure({ term, value, look = "", about }: { term: string; value: string; look?: string; about?: string }) {
  return (
    <div class={look} title={about}>
      <dt>{term}</dt>
      <dd>{value}</dd>
    </div>
  );
}
