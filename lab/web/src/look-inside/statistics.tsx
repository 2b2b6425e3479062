// Counts since the last reset, and the last minutes as lines.
import type { Statistics } from "../contract";
import { LineChart } from "../chart/line-chart";
import { count } from "../format";
import { Figure } from "../flow/figures";
import { reset } from "../commands";
import { CommandButton, Trouble, useCommand } from "../parts/command";
import { live } from "../state/store";

const TERMS: [keyof Statistics, string][] = [
  ["requests", "requests"],
  ["writes_ok", "writes ok"],
  ["writes_failed", "writes failed"],
  ["outbox_queued", "outbox queued"],
  ["publishes_ok", "publishes ok"],
  ["publishes_failed", "publishes failed"],
  ["pending", "pending"],
  ["consumed", "consumed"],
  ["inconsistent_runs", "inconsistent runs"],
];

export function StatisticsPage() {
  const command = useCommand();
  const statistics = live.value?.statistics;
  return (
    <>
      {statistics && (
        <dl class="figures large" data-testid="statistics">
          {TERMS.map(([name, term]) => (
            <Figure key={name} term={term} value={count(statistics[name])} look={name.includes("failed") || name === "inconsistent_runs" ? (statistics[name] > 0 ? "wrong found" : "") : ""} />
          ))}
        </dl>
      )}
      <LineChart title="The last five minutes, per second" series={["requests", "published", "consumed", "settled"]} />
      <LineChart title="Not finished yet" series={["waiting", "pending"]} />
      <p class="commands">
        <CommandButton command={command} act={reset} icon="restart">
          Reset the figures
        </CommandButton>
      </p>
      <Trouble command={command} />
    </>
  );
}
