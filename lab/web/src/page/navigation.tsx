// Links to the views. On small screens a line above them keeps the money in sight.
import { count } from "../format";
import { Sign } from "../parts/sign";
import { route, type View, VIEWS } from "../state/route";
import { wide } from "../state/screen";
import { live, money } from "../state/store";
import { countOf, verdictOf } from "../state/verdict";

export const TITLES: Record<View, string> = {
  flow: "Flow",
  traffic: "Traffic",
  break: "Break it",
  money: "Money",
  compare: "Compare",
  "look-inside": "Look inside",
};

export function Navigation() {
  return (
    <div class="navigation">
      {!wide.value && <MoneyLine />}
      <nav aria-label="Views">
        <ul>
          {VIEWS.map((view) => (
            <li key={view}>
              <a href={`#${view}`} aria-current={route.value.view === view ? "page" : undefined}>
                {TITLES[view]}
              </a>
            </li>
          ))}
        </ul>
      </nav>
    </div>
  );
}

function MoneyLine() {
  const { sign } = verdictOf(money.value);
  return (
    <p class={`money-line ${sign}`}>
      <Sign sign={sign} />
      <span class="first">accepted {count(money.value?.accepted ?? null)}</span>
      <span>on the way {count(money.value?.in_flight ?? live.value?.statistics.pending ?? null)}</span>
      <span>paid {count(money.value?.paid ?? null)}</span>
      <strong>LOST {count(countOf(money.value, "LOST"))}</strong>
    </p>
  );
}
