// The view that the address names.
import { effect } from "@preact/signals";
import type { ComponentType } from "preact";
import { CompareView } from "../compare/view";
import { BreakView } from "../break/view";
import { FlowView } from "../flow/view";
import { LookInsideView } from "../look-inside/view";
import { MoneyView } from "../money/view";
import { route, type View } from "../state/route";
import { live } from "../state/store";
import { TrafficView } from "../traffic/view";

const VIEW: Record<View, ComponentType> = {
  flow: FlowView,
  traffic: TrafficView,
  break: BreakView,
  money: MoneyView,
  compare: CompareView,
  "look-inside": LookInsideView,
};

export function CurrentView() {
  const { view } = route.value;
  const Chosen = VIEW[view];
  return (
    <div id="view" class={`view view-${view}`} tabIndex={-1}>
      <Chosen key={view} />
    </div>
  );
}

/** After a change of view: its beginning comes into sight, below what is always there, and the keyboard goes on there. */
export function focusView(): void {
  requestAnimationFrame(() => {
    const view = document.getElementById("view");
    // On a low screen only the links to the views stay in sight.
    const stuck = [...document.querySelectorAll<HTMLElement>(".always, .navigation")].find((one) => getComputedStyle(one).position === "sticky");
    if (!view || !stuck) return;
    view.focus({ preventScroll: true });
    const top = view.getBoundingClientRect().top;
    const hidden = top < stuck.getBoundingClientRect().bottom - 1;
    if (hidden || top > innerHeight / 2) scrollTo({ top: view.offsetTop - stuck.offsetHeight });
  });
}

/** The same for a page that was opened at a view: before the first snapshot there is nothing above the view to scroll over. */
export function focusViewOnceShown(): void {
  let done = false;
  effect(() => {
    if (live.value === null || done) return;
    done = true;
    focusView();
  });
}
