// The run that goes on, or the last one: progress, figures, verdict, and the commands to stop it and to reset the figures.
import type { Run } from "../contract";
import { count, duration } from "../format";
import { Figure } from "../flow/figures";
import { reset, stopTraffic } from "../commands";
import { CommandButton, Trouble, useCommand } from "../parts/command";
import { CopyAsCurl, CopyButton } from "../parts/copy";
import { Progress, VerdictLine } from "../parts/sign";
import { run } from "../state/store";
import { isShareable } from "./sharing";
import { runVerdict } from "../state/verdict";

export function RunState() {
  const command = useCommand();
  const present = run.value;
  const noStop = present?.state === "running" ? null : "There is no traffic to stop.";
  return (
    <section class="card" aria-labelledby="run-title" data-testid="run">
      <h3 id="run-title">{present === null ? "No run yet" : HEADLINE[present.state]}</h3>
      {present === null ? <p class="empty">Press Start: the payments show up in the drawing and in the money.</p> : <Details run={present} />}
      <p class="commands">
        <CommandButton command={command} act={stopTraffic} icon="stop" why={noStop}>
          Stop
        </CommandButton>
        <CopyAsCurl of="Stop" method="DELETE" path="/api/traffic" />
        <CommandButton command={command} act={reset} icon="restart" title="Sets the statistics and the audit to zero and the provider to normal; no data is deleted">
          Count from now
        </CommandButton>
        <CopyAsCurl of="Count from now" method="POST" path="/api/reset" />
        {isShareable() && <CopyButton label="Copy the link" of="This form, and the verdict of its run" text={() => location.href} />}
      </p>
      <p class="quiet">Counting from now sets statistics and money to zero, and the provider back to normal. No data is deleted.</p>
      <Trouble command={command} />
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
        <Figure term="accepted" about="requests answered 202" value={count(present.accepted)} />
        <Figure term="declined" about="requests answered 4xx" value={count(present.declined)} />
        <Figure term="failed" about="requests without an answer, or answered 5xx, that were not to crash" value={count(present.failed)} />
        <Figure term="crashes" about="requests that were cut off after their first write, as by a crash" value={count(present.crashes)} />
        <Figure term="p50" about="half of the accepted requests were answered within this time" value={duration(present.p50_ms)} />
        <Figure term="p99" about="99 of 100 accepted requests were answered within this time" value={duration(present.p99_ms)} />
      </dl>
    </>
  );
}
