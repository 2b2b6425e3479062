// One payment in slow motion; below it the problem in plain sentences, and three things to press that show it, its cure, and that the cure holds.
import type { ComponentChildren } from "preact";
import type { Run } from "../contract";
import { count } from "../format";
import { CommandButton, Trouble, useCommand } from "../parts/command";
import { CopyAsCurl } from "../parts/copy";
import { Progress, VerdictLine } from "../parts/sign";
import { guidedTraffic, type Step, startGuided } from "../state/guide";
import { SlowMotion } from "../slow-motion/view";
import { isOpen } from "../slow-motion/state";
import { guided, noTraffic } from "../state/store";
import { runVerdict } from "../state/verdict";

export function Introduction() {
  return (
    <>
      <SlowMotion />
      {!isOpen.value && <Problem />}
    </>
  );
}

function Problem() {
  return (
    <section class="introduction" aria-labelledby="problem-title">
      <div class="problem">
        <h2 id="problem-title">200 payments, two writes each</h2>
        <p>
          A process that dies between the two writes has taken the money and told nobody. The <em>outbox pattern</em> makes them
          one write: the event is a row of the same transaction, and a relay carries it to Kafka afterwards.
        </p>
        <p class="quiet">Everything here is real: processes, databases, kills. Only the money is not.</p>
      </div>
      <ol class="steps">
        <GuidedStep step="problem" title="See the problem" button="Run 200 payments through dual-write">
          Commit, then publish. One request in 20 is cut off between the two.
        </GuidedStep>
        <GuidedStep step="cure" title="See the cure" button="Run the same through the outbox">
          The same 200 payments, the same crashes; the event is in the transaction.
        </GuidedStep>
        <li class="step">
          <h3>Don't believe it</h3>
          <p>Kill the relay, stop Kafka, pause the database while payments flow. Then count the money.</p>
          <p>
            <a class="button plain" href="#break">Break it yourself</a>
          </p>
        </li>
      </ol>
    </section>
  );
}

function GuidedStep({ step, title, button, children }: { step: Step; title: string; button: string; children: ComponentChildren }) {
  const command = useCommand();
  const own = guided.value[step];
  const untried = step === "problem" ? own === null : own === null && guided.value.problem?.verdict != null;
  return (
    <li class="step" data-testid={`step-${step}`}>
      <h3>{title}</h3>
      <p>{children}</p>
      <p>
        <CommandButton command={command} act={() => startGuided(step)} look={untried ? "primary" : "plain"} why={noTraffic.value} icon="start">
          {button}
        </CommandButton>
        <CopyAsCurl of={button} method="POST" path="/api/traffic" body={guidedTraffic(step)} />
      </p>
      <div>
        <Trouble command={command} />
        {own && <Outcome run={own} />}
      </div>
    </li>
  );
}

function Outcome({ run }: { run: Run }) {
  return (
    <>
      {run.verdict === null && run.state === "running" && (
        <Progress value={run.sent} max={run.requests} label={`${count(run.sent)} of ${count(run.requests)} payments sent`} />
      )}
      <VerdictLine verdict={runVerdict(run)} testId="step-verdict" />
    </>
  );
}
