// The introduction, folded to a line once one of its steps was run or another view is open: then the drawing comes first.
import { signal } from "@preact/signals";
import { CommandButton, Trouble, useCommand } from "../parts/command";
import { Sign } from "../parts/sign";
import { isOpen } from "../slow-motion/state";
import { type Step, startGuided } from "../state/guide";
import { route, type View } from "../state/route";
import { guided, noTraffic } from "../state/store";
import { runVerdict } from "../state/verdict";
import { Introduction } from "./introduction";

/** The view in which it was unfolded by hand; another view folds it again. */
const unfoldedIn = signal<View | null>(null);

export function FoldingIntroduction() {
  const { view } = route.value;
  const { problem, cure } = guided.value;
  // A payment that stands still stays in sight.
  const canFold = !isOpen.value && (view !== "flow" || problem !== null || cure !== null);
  const folded = canFold && unfoldedIn.value !== view;
  return (
    <div class={folded ? "folding folded" : "folding"}>
      {canFold && (
        <div class="introduction-line">
          <button type="button" class="button plain" aria-expanded={!folded} onClick={() => (unfoldedIn.value = folded ? view : null)}>
            Slow motion, and the three steps
          </button>
          {folded && view === "flow" && (
            <>
              <StepOnTheLine step="problem" title="Run 200 payments through dual-write" />
              <StepOnTheLine step="cure" title="Run the same through the outbox" />
            </>
          )}
        </div>
      )}
      {/* Kept, so that it is as it was when it is unfolded. */}
      <div hidden={folded}>
        <Introduction />
      </div>
    </div>
  );
}

function StepOnTheLine({ step, title }: { step: Step; title: string }) {
  const command = useCommand();
  const own = guided.value[step];
  const verdict = own && runVerdict(own);
  return (
    <div class="step-on-the-line" data-testid={`step-${step}`}>
      <CommandButton command={command} act={() => startGuided(step)} look={own === null ? "primary" : "plain"} why={noTraffic.value} icon="start">
        {title}
      </CommandButton>
      {verdict && (
        <span class={`verdict ${verdict.sign}`} data-testid="step-verdict" title={verdict.text}>
          <Sign sign={verdict.sign} />
          <span>{verdict.short}</span>
        </span>
      )}
      <Trouble command={command} />
    </div>
  );
}
