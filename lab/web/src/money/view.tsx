// The audit in full: both databases, Kafka and the provider's own list, joined by payment id.
import { clock, count, duration, shortId } from "../format";
import { Sign } from "../parts/sign";
import { CommandButton, Trouble, useCommand } from "../parts/command";
import { CopyAsCurl } from "../parts/copy";
import { reset } from "../commands";
import { traceLink } from "../state/route";
import { wide } from "../state/screen";
import { money } from "../state/store";
import { MEANING, signOfFinding } from "../state/verdict";
import type { Finding, Money } from "../contract";
import { MoneyFigures } from "./figures";
import { RepairAll } from "./repair";

export function MoneyView() {
  const audit = money.value;
  const command = useCommand();
  return (
    <section aria-labelledby="money-title">
      <h2 id="money-title">{wide.value ? "The audit" : "The money"}</h2>
      <p class="lead">
        Every second or so both databases, Kafka and the provider's own list are joined by payment id. No part is asked what it
        believes: what counts is what was written.
      </p>
      {!wide.value && <MoneyFigures />}
      {audit === null ? <p class="empty">The first audit comes with the first payment.</p> : <Audit audit={audit} />}
      <p class="commands">
        <CommandButton command={command} act={reset} icon="restart" title="Counts only payments from now on, also in the statistics, and sets the provider to normal; no data is deleted">
          Count from now
        </CommandButton>
        <CopyAsCurl of="Count from now" method="POST" path="/api/reset" />
      </p>
      <Trouble command={command} />
    </section>
  );
}

function Audit({ audit }: { audit: Money }) {
  return (
    <div class="split">
      <div>
        <h3>What could be wrong</h3>
        <ul class="findings">
          {audit.findings.map((finding) => (
            <FindingLine key={finding.kind} finding={finding} />
          ))}
        </ul>
      </div>
      <div>
        <h3>On the way</h3>
        {audit.in_flight === 0 ? (
          <p class="empty">Nothing is in flight: each payment has ended.</p>
        ) : (
          <table class="plain-table">
            <tbody>
              {audit.in_flight_where.map(({ where, count: n }) => (
                <tr key={where}>
                  <th scope="row">{where}</th>
                  <td class="number">{count(n)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
        <p class="quiet">
          Counted at {clock(audit.at)} in {duration(audit.took_ms)}. Declined at once, and so never accepted: {count(audit.declined)}.
        </p>
      </div>
    </div>
  );
}

/** Findings about wallets and accounts have no payment to trace. */
const ABOUT_WALLETS = new Set(["BALANCE DIFFERS", "UNBALANCED"]);

function FindingLine({ finding }: { finding: Finding }) {
  const sign = signOfFinding(finding);
  return (
    <li class={`finding ${sign}`}>
      <span class="finding-head">
        <Sign sign={sign} />
        <strong>{finding.kind}</strong>
        <span class="number">{count(finding.count)}</span>
      </span>
      <small>
        {MEANING[finding.kind] ?? ""}
        {finding.by_pattern.length > 0 && ` Written by: ${finding.by_pattern.map((by) => `${by.pattern} ${count(by.count)}`).join(", ")}.`}
      </small>
      {finding.examples.length > 0 && (
        <span class="examples">
          {finding.examples.map((id) =>
            ABOUT_WALLETS.has(finding.kind) ? <code key={id}>{id}</code> : <a key={id} href={traceLink(id)} title={`Trace ${id}`}>{shortId(id)}</a>,
          )}
        </span>
      )}
      {finding.kind === "LOST" && finding.count > 0 && <RepairAll />}
    </li>
  );
}
