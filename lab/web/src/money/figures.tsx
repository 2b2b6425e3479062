// The audit in brief: where the accepted payments are, and whether money is wrong.
import type { Money } from "../contract";
import { clock, count } from "../format";
import { Figure } from "../flow/figures";
import { VerdictLine } from "../parts/sign";
import { money } from "../state/store";
import { countOf, MEANING, verdictOf } from "../state/verdict";

export function MoneyFigures() {
  const audit = money.value;
  return (
    <>
      <dl class="money-figures">
        <Figure term="accepted" about="payments that the wallet database has, also those whose client got no answer" value={count(audit?.accepted ?? null)} />
        <Figure term="in flight" about="of them: neither paid nor refunded yet" value={count(audit?.in_flight ?? null)} look="open" />
        <Figure term="paid" about="of them: settled, the provider has the money" value={count(audit?.paid ?? null)} look="paid" />
        <Figure term="refunded" about="of them: the wallet got the money back" value={count(audit?.refunded ?? null)} look="refunded" />
        <Wrong audit={audit} kind="LOST" />
        <Wrong audit={audit} kind="PAID TWICE" />
      </dl>
      <MoneyBar audit={audit} />
      {audit && (audit.away ?? audit.error) !== null ? <LastCounted audit={audit} /> : <MoneyScope audit={audit} />}
      <VerdictLine verdict={verdictOf(audit)} testId="money-verdict" />
    </>
  );
}

/** While a server is away: one quiet line, since no command failed. */
function LastCounted({ audit }: { audit: Money }) {
  const last = audit.at === 0 ? "nothing was counted yet" : `last counted ${clock(audit.at)}`;
  return (
    <p class="quiet" data-testid="last-counted" title={audit.error ?? undefined}>
      {audit.away === null ? "The count fails" : `${audit.away} is away`}: {last}.
    </p>
  );
}

/** One scope for all of it: whatever was wrong before is not mixed in. */
function MoneyScope({ audit }: { audit: Money | null }) {
  return (
    <p class="quiet" data-testid="money-scope">
      Counted: {audit === null ? "nothing yet" : `${audit.of_run ? "this run" : "payments"} since ${clock(audit.since)}`}.
    </p>
  );
}

function Wrong({ audit, kind }: { audit: Money | null; kind: string }) {
  const n = countOf(audit, kind);
  const look = n === null ? "wrong" : n === 0 ? "wrong none" : "wrong found";
  return <Figure term={kind} about={MEANING[kind]} value={n === 0 ? "✓ 0" : n !== null && n > 0 ? `✕ ${count(n)}` : count(n)} look={look} />;
}

/** The accepted payments, as parts of one bar; the figures next to it say the same in numbers. */
function MoneyBar({ audit }: { audit: Money | null }) {
  const lost = countOf(audit, "LOST") ?? 0;
  const { paid = 0, refunded = 0, in_flight = 0 } = audit ?? {};
  const shares: [string, number][] = [["paid", paid], ["refunded", refunded], ["open", in_flight], ["lost", lost]];
  return (
    <div class="money-bar" aria-hidden="true">
      {shares.map(([name, n]) => n > 0 && <span key={name} class={name} style={{ flexGrow: n }} />)}
    </div>
  );
}
