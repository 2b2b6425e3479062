// The flow: the drawing where the band has no room for it, the last minutes as a line, and the same as plain figures.
import type { Live } from "../contract";
import { LineChart } from "../chart/line-chart";
import { count, duration, rate } from "../format";
import { wide } from "../state/screen";
import { live } from "../state/store";
import { FlowDiagram } from "./diagram";
import { FlowFigures } from "./figures";
import { Losses } from "./losses";
import { COUNTS, PASSAGES } from "./passages";

export function FlowView() {
  return (
    <section aria-labelledby="flow-title">
      <h2 id="flow-title">{wide.value ? "The last minutes" : "The payment's way"}</h2>
      {!wide.value && (
        <>
          <FlowDiagram />
          <Losses />
          <FlowFigures />
        </>
      )}
      <div class="charts">
        <LineChart title="Per second" series={["requests", "published", "settled"]} />
        <LineChart title="Waiting in the outboxes" series={["waiting"]} />
        <LineChart title="Age of the oldest event, in seconds" series={["oldest_s"]} />
      </div>
      <details class="words">
        <summary>How to read the drawing</summary>
        <ul>
          <li>It shows the pattern of the last run. The heavy lines are the writes of wallet-api, and how the event gets to Kafka. A number in a circle says which write comes first.</li>
          <li>In the outbox pattern, debit and event are rows of one transaction, and a relay carries the event to Kafka. In dual-write there are two writes, and a crash between them is cut off from Kafka for good.</li>
          <li>Then bill-payer takes the event and asks the provider. The result comes back through an outbox and a relay of its own, and settles the payment.</li>
          <li>The figure on an arrow is what passed it in the last second; an arrow without one is idle. The line in a box grows with what waits there: 10 rows fill a quarter, 10,000 all of it.</li>
          <li>A box with a cross is down, with dots it is on its way back or paused, with an exclamation mark one of several is missing.</li>
        </ul>
      </details>
      {live.value && <FlowTable snapshot={live.value} />}
    </section>
  );
}

/** Every figure of the drawing, with what it counts. */
function FlowTable({ snapshot: { flow, statistics } }: { snapshot: Live }) {
  const waiting: [string, string][] = [
    ["rows that wait in the wallet's outbox, and the age of the oldest", `${count(flow.outbox_wallet)}, ${duration(flow.oldest_wallet_ms)}`],
    ["rows that wait in bill-payer's outbox, and the age of the oldest", `${count(flow.outbox_bill)}, ${duration(flow.oldest_bill_ms)}`],
    ["messages of wallet.events that bill-payer has not taken", count(flow.lag_wallet_events)],
    ["messages of bill.events that wallet-api has not taken", count(flow.lag_bill_events)],
    ["messages of wallet.commands that wallet-api has not taken", count(flow.lag_commands)],
  ];
  return (
    <details class="words">
      <summary>The drawing as a table</summary>
      <table class="plain-table" data-testid="passages">
        <thead>
          <tr>
            <th scope="col">what is counted, as the processes say</th>
            <th scope="col" class="number">now</th>
            <th scope="col" class="number">since “Count from now”</th>
          </tr>
        </thead>
        <tbody>
          {PASSAGES.map((passage) => (
            <tr key={passage} data-passage={passage}>
              <th scope="row">{COUNTS[passage]}</th>
              <td class="number">{rate(flow[passage])}</td>
              <td class="number">{count(statistics.passed[passage] ?? 0)}</td>
            </tr>
          ))}
          {waiting.map(([what, value]) => (
            <tr key={what}>
              <th scope="row">{what}</th>
              <td class="number">{value}</td>
              <td />
            </tr>
          ))}
        </tbody>
      </table>
    </details>
  );
}
