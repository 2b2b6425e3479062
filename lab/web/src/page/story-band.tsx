// Flow and money, side by side above every view, where the screen has room; elsewhere they are views of their own.
import { FlowDiagram } from "../flow/diagram";
import { FlowFigures } from "../flow/figures";
import { Losses } from "../flow/losses";
import { MoneyFigures } from "../money/figures";
import { wide } from "../state/screen";

export function StoryBand() {
  if (!wide.value) return null;
  return (
    <div class="story">
      <section class="story-flow" aria-labelledby="story-flow-title">
        <h2 id="story-flow-title" class="sr-only">The payment's way</h2>
        <FlowDiagram />
        <Losses />
        <FlowFigures />
      </section>
      <section class="story-money" aria-labelledby="story-money-title">
        <h2 id="story-money-title">The money</h2>
        <MoneyFigures />
      </section>
    </div>
  );
}
