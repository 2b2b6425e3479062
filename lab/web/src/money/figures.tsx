// The audit in brief: where the accepted payments are, and whether money is wrong.
import type { Money } from "../contract";
import { clock, count } from "../format";
import { Figure } from "../flow/figures";
import { VerdictLine } from "../parts/sign";
import { money } from "../state/store";
import { countOf, MEANING, signOf, verdictOf } from "../state/verdict";

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
      {audit && <MoneyBar audit={audit} />}
      {audit && <MoneyScope audit={audit} />}
      <VerdictLine verdict={verdictOf(audit)} testId="money-verdict" />
      <LastCounted audit={audit} />
    </>
  );
}

/** While a server is away: one quiet line, since no command failed. */
function LastCounted({ audit }: { audit: Money | null }) {
  if (audit === null || (audit.away === null && audit.error === null)) return null;
  const last = audit.at === 0 ? "nothing was counted yet" : `last counted ${clock(audit.at)}`;
  return (
    <p class="quiet" data-testid="last-counted" title={audit.error ?? undefined}>
      {audit.away === null ? "The money can't be counted now" : `${audit.away} is away`}: {last}.
    </p>
  );
}

/** One scope for all of it: whatever was wrong before is not mixed in. */
function MoneyScope({ audit }: { audit: Money }) {
  return (
    <p class="quiet" data-testid="money-scope">
      Counted: {audit.of_run ? "this run, " : ""}payments since {clock(audit.since)}.
    </p>
  );
}

function Wrong({ audit, kind }: { audit: Money | null; kind: string }) {
  const n = countOf(audit, kind);
  const look = n === null ? "wrong" : { good: "wrong none", bad: "wrong found", trouble: "wrong trouble", open: "wrong" }[signOf(kind, n)];
  return <Figure term={kind} about={MEANING[kind]} value={n === 0 ? "✓ 0" : n !== null && n > 0 ? `✕ ${count(n)}` : count(n)} look={look} />;
}

/** The accepted payments, as parts of one bar; the figures next to it say the same in numbers. */
function MoneyBar({ audit }: { audit: Money }) {
  const lost = countOf(audit, "LOST") ?? 0;
  const shares: [string, number][] = [["paid", audit.paid], ["refunded", audit.refunded], ["open", audit.in_flight], ["lost", lost]];
  return (
    <div class="money-bar" aria-hidden="true">
      {shares.map(([name, n]) => n > 0 && <span key={name} class={name} style={{ flexGrow: n }} />)}
    </div>
  );
}
