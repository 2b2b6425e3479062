// Name of the page, state of the system in a few words, the switch between dark and light.
import { Icon } from "../parts/icon";
import { connected, live } from "../state/store";
import { THEMES, type Theme, theme } from "../state/theme";

export function Header() {
  return (
    <header class="header">
      <h1>The dual-write lab</h1>
      <SystemState />
      <label class="theme">
        <Icon name="theme" />
        <span class="sr-only">Colours</span>
        <select value={theme.value} onChange={(event) => (theme.value = event.currentTarget.value as Theme)}>
          {THEMES.map((one) => (
            <option key={one} value={one}>
              {NAMES[one]}
            </option>
          ))}
        </select>
      </label>
    </header>
  );
}

const NAMES: Record<Theme, string> = { auto: "Auto", light: "Light", dark: "Dark" };

function SystemState() {
  const snapshot = live.value;
  if (!connected.value) return <p class="state bad">not connected</p>;
  if (snapshot === null) return <p class="state open">connecting …</p>;
  const down = snapshot.parts.filter((part) => part.state !== "ready" && part.actions.length > 0);
  const sign = !snapshot.ready ? "open" : down.length > 0 ? "bad" : "good";
  const words = !snapshot.ready
    ? "the system is starting …"
    : down.length > 0
      ? `not up: ${down.map((part) => part.name).join(", ")}`
      : "every part is up";
  return (
    <p class={`state ${sign}`} data-testid="system-state">
      <Icon name={sign} />
      <span>
        {words}
        <span class="quiet"> · relay mode {snapshot.relay_mode}</span>
        {snapshot.busy && <span class="quiet"> · {snapshot.busy} …</span>}
      </span>
    </p>
  );
}
