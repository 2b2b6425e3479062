// Counts since the figures were last set to zero, and the last minutes as lines.
import type { Statistics } from "../contract";
import { LineChart } from "../chart/line-chart";
import { count } from "../format";
import { Figure } from "../flow/figures";
import { reset } from "../commands";
import { CommandButton, Trouble, useCommand } from "../parts/command";
import { CopyAsCurl } from "../parts/copy";
import { live } from "../state/store";

/** Each with what it counts. */
const TERMS: [keyof Omit<Statistics, "passed">, string, string][] = [
  ["requests", "requests", "requests to pay that wallet-api answered"],
  ["writes_ok", "writes ok", "payments that wallet-api debited and committed"],
  ["writes_failed", "writes failed", "requests that were refused because a server was away"],
  ["outbox_queued", "outbox queued", "events that a transaction wrote into one of the two outboxes"],
  ["publishes_ok", "publishes ok", "messages on all three topics, by the relays and by wallet-api itself"],
  ["publishes_failed", "publishes failed", "messages that Kafka did not acknowledge"],
  ["pending", "pending", "rows that wait in the two outboxes now"],
  ["consumed", "consumed", "messages that bill-payer and wallet-api took from the three topics"],
  ["inconsistent_runs", "inconsistent runs", "runs whose money did not come out right"],
];

/** Stand out when they are not 0; not in red, which is money that is lost, and nothing else. */
const SHOULD_BE_0 = new Set<keyof Statistics>(["writes_failed", "publishes_failed", "inconsistent_runs"]);

export function StatisticsPage() {
  const command = useCommand();
  const statistics = live.value?.statistics;
  return (
    <>
      {statistics && (
        <dl class="figures large" data-testid="statistics">
          {TERMS.map(([name, term, about]) => (
            <Figure key={name} term={term} about={about} value={count(statistics[name])} look={statistics[name] > 0 && SHOULD_BE_0.has(name) ? "trouble" : ""} />
          ))}
        </dl>
      )}
      <LineChart title="The last five minutes, per second" series={["requests", "published", "consumed", "settled"]} />
      <LineChart title="Not finished yet" series={["waiting", "pending"]} />
      <p class="commands">
        <CommandButton command={command} act={reset} icon="restart">
          Count from now
        </CommandButton>
        <CopyAsCurl of="Count from now" method="POST" path="/api/reset" />
      </p>
      <Trouble command={command} />
    </>
  );
}
