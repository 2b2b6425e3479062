// The run that goes on, or the last one: progress, figures, verdict, and the orders to stop it and to begin anew.
import type { Run } from "../contract";
import { count, duration } from "../format";
import { Figure } from "../flow/figures";
import { reset, stopTraffic } from "../orders";
import { OrderButton, Trouble, useOrder } from "../parts/order";
import { Progress, VerdictLine } from "../parts/sign";
import { run } from "../state/store";
import { runVerdict } from "../state/verdict";

export function RunState() {
  const order = useOrder();
  const present = run.value;
  const noStop = present?.state === "running" ? null : "There is no traffic to stop.";
  return (
    <section class="card" aria-labelledby="run-title" data-testid="run">
      <h3 id="run-title">{present === null ? "No run yet" : HEADLINE[present.state]}</h3>
      {present === null ? <p class="empty">Press Start: the payments show up in the diagram and in the money.</p> : <Details run={present} />}
      <p class="orders">
        <OrderButton order={order} act={stopTraffic} icon="stop" why={noStop}>
          Stop
        </OrderButton>
        <OrderButton order={order} act={reset} icon="restart" title="Statistics and audit begin anew from now; the provider behaves; data stays">
          Reset
        </OrderButton>
      </p>
      <p class="quiet">Reset counts statistics and money anew from now, and has the provider behave. No data is deleted.</p>
      <Trouble order={order} />
    </section>
  );
}

const HEADLINE: Record<Run["state"], string> = {
  running: "Sending",
  settling: "Sent; waiting for each payment to end",
  finished: "The last run",
  stopped: "The last run, stopped",
};

function Details({ run: present }: { run: Run }) {
  return (
    <>
      <p class="quiet">
        {present.pattern}
        {present.pattern === "outbox" && ` by ${present.relay_mode}`}: {count(present.sent)} of {count(present.requests)} sent
      </p>
      <Progress value={present.sent} max={present.requests} label="Payments sent" />
      <VerdictLine verdict={runVerdict(present)} testId="run-verdict" />
      <dl class="figures">
        <Figure term="accepted" value={count(present.accepted)} />
        <Figure term="declined" value={count(present.declined)} />
        <Figure term="failed" value={count(present.failed)} />
        <Figure term="crashes" value={count(present.crashes)} />
        <Figure term="p50" value={duration(present.p50_ms)} />
        <Figure term="p99" value={duration(present.p99_ms)} />
      </dl>
    </>
  );
}
