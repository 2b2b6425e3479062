// The flow: the diagram where the band has no room for it, the last minutes as a line, and the same as plain figures.
import type { Live } from "../contract";
import { LineChart } from "../chart/line-chart";
import { count, duration, rate } from "../format";
import { wide } from "../state/screen";
import { live } from "../state/store";
import { FlowDiagram } from "./diagram";
import { FlowFigures } from "./figures";

export function FlowView() {
  return (
    <section aria-labelledby="flow-title">
      <h2 id="flow-title">{wide.value ? "The last minutes" : "The flow"}</h2>
      {!wide.value && (
        <>
          <FlowDiagram />
          <FlowFigures />
        </>
      )}
      <div class="charts">
        <LineChart title="Per second" series={["requests", "published", "settled"]} />
        <LineChart title="Waiting in the outboxes" series={["waiting"]} />
        <LineChart title="Age of the oldest event, in seconds" series={["oldest_s"]} />
      </div>
      <details class="words">
        <summary>How to read the diagram</summary>
        <ul>
          <li>Requests go out along the first lane: debit and event are written by one transaction, a relay carries the event to Kafka, the bill payer hears of it and asks the provider.</li>
          <li>Results come back along the second lane, through an outbox and a relay of their own, and settle the payment.</li>
          <li>The number on an arrow is what passed it in the last second. The line in a box grows with what waits there: 10 rows fill a quarter, 10,000 all of it.</li>
          <li>A box with a cross is down, with dots it is on its way back or paused, with an exclamation mark one of several is missing.</li>
        </ul>
      </details>
      {live.value && <FlowTable snapshot={live.value} />}
    </section>
  );
}

function FlowTable({ snapshot: { flow } }: { snapshot: Live }) {
  const rows: [string, string][] = [
    ["requests answered", rate(flow.requests)],
    ["payments committed", rate(flow.committed)],
    ["events published", rate(flow.published)],
    ["events taken in by the bill payer", rate(flow.consumed)],
    ["calls to the provider", rate(flow.provider_calls)],
    ["results published", rate(flow.results_published)],
    ["payments settled or refunded", rate(flow.settled)],
    ["rows waiting in the wallet's outbox, the oldest", `${count(flow.outbox_wallet)}, ${duration(flow.oldest_wallet_ms)}`],
    ["rows waiting in the bill payer's outbox, the oldest", `${count(flow.outbox_bill)}, ${duration(flow.oldest_bill_ms)}`],
    ["messages of wallet.events not yet taken", count(flow.lag_wallet_events)],
    ["messages of bill.events not yet taken", count(flow.lag_bill_events)],
  ];
  return (
    <details class="words">
      <summary>The diagram as a table</summary>
      <table class="plain-table">
        <tbody>
          {rows.map(([what, value]) => (
            <tr key={what}>
              <th scope="row">{what}</th>
              <td class="number">{value}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </details>
  );
}
