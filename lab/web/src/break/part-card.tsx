// One process: what it is, how it is, and what can be done to it now.
import type { Part, PartAction, PartState } from "../contract";
import { bytes, count } from "../format";
import { actOnPart } from "../commands";
import type { IconName } from "../parts/icon";
import { Icon } from "../parts/icon";
import { CommandButton, Trouble, useCommand } from "../parts/command";
import { CopyAsCurl } from "../parts/copy";

interface ActionText {
  name: string;
  what: string;
}

const ACTIONS: Record<PartAction, ActionText> = {
  kill: { name: "Kill -9", what: "Ends it at once, in the middle of whatever it does" },
  pause: { name: "Pause", what: "Stops it where it is (SIGSTOP); its connections stay open" },
  resume: { name: "Resume", what: "Resumes it (SIGCONT)" },
  restart: { name: "Restart", what: "Asks it to end, waits, starts it again" },
  stop: { name: "Stop", what: "Stops it until you start it again" },
  start: { name: "Start", what: "Starts it" },
};

const ABOUT: [prefix: string, about: string][] = [
  ["wallet-api", "takes payments, debits wallets, settles results"],
  ["relay-wallet", "carries the wallet's events from its outbox to Kafka"],
  ["relay-bill", "carries the bill payer's results to Kafka"],
  ["bill-payer", "receives payments, pays them at the provider, retries"],
  ["mock-provider", "somebody else's service that takes the money"],
  ["postgres", "both databases, each with its outbox"],
  ["kafka", "the broker: wallet.events, bill.events and wallet.commands"],
  ["connect", "Kafka Connect with Debezium; runs in mode debezium only"],
];

const SIGN: Record<PartState, [IconName, string]> = {
  ready: ["good", "good"],
  "not ours": ["open", "open"],
  starting: ["restart", "waiting"],
  restarting: ["restart", "waiting"],
  stopping: ["restart", "waiting"],
  paused: ["pause", "waiting"],
  stopped: ["bad", "bad"],
};

export function PartCard({ part }: { part: Part }) {
  const command = useCommand();
  const [icon, look] = unneeded(part) ? (["open", "quiet"] as const) : SIGN[part.state];
  const about = ABOUT.find(([prefix]) => part.name.startsWith(prefix))?.[1];
  return (
    <section class={`card part part-${look}`} aria-label={part.name} data-part={part.name}>
      <header class="part-head">
        <h4>{part.name}</h4>
        <span class={`state ${look}`} data-testid="state">
          <Icon name={icon} /> {unneeded(part) ? "not needed now" : part.state}
        </span>
      </header>
      <p class="quiet">{about}</p>
      <p class="facts">
        {part.pid !== null && <span>pid {part.pid}</span>}
        {part.memory_bytes !== null && <span>{bytes(part.memory_bytes)}</span>}
        <span>{part.restarts === 1 ? "1 restart" : `${count(part.restarts)} restarts`}</span>
        <span>{part.address}</span>
      </p>
      {part.detail && <p class="detail">{part.detail}</p>}
      <p class="commands">
        {actionsOf(part).map((action) => (
          <CommandButton
            key={action}
            command={command}
            act={() => actOnPart(part.name, action)}
            icon={action}
            look={action === "kill" || action === "stop" ? "danger" : "plain"}
            why={part.actions.includes(action) ? null : whyNot(part)}
            title={ACTIONS[action].what}
            label={`${ACTIONS[action].name} ${part.name}`}
          >
            {ACTIONS[action].name}
          </CommandButton>
        ))}
      </p>
      <details class="curls">
        <summary>As curl</summary>
        {actionsOf(part).map((action) => (
          <CopyAsCurl
            key={action}
            label={`Copy ${ACTIONS[action].name}`}
            of={`${ACTIONS[action].name} ${part.name}`}
            method="POST"
            path={`/api/parts/${encodeURIComponent(part.name)}`}
            body={{ action }}
          />
        ))}
      </details>
      {part.actions.length === 0 && !unneeded(part) && <p class="why">{whyNot(part)}</p>}
      <Trouble command={command} />
    </section>
  );
}

/** Kafka Connect, but in mode debezium. */
function unneeded(part: Part): boolean {
  return part.state === "stopped" && part.actions.length === 0;
}

/** The same places for the same actions: pause and resume take turns, so do stop and start. */
function actionsOf({ kind, state, actions }: Part): PartAction[] {
  const can = (action: PartAction) => actions.includes(action);
  const shown: PartAction[] = ["kill", state === "paused" || can("resume") ? "resume" : "pause", "restart"];
  if (kind === "server" || can("stop") || can("start")) shown.push(can("start") ? "start" : "stop");
  return shown;
}

function whyNot(part: Part): string {
  switch (part.state) {
    case "not ours":
      return "Not started by the lab, so not the lab's to stop.";
    case "stopped":
      return part.actions.includes("start") ? "It is stopped: start it first." : "Not needed in the present relay mode.";
    case "paused":
      return "It is paused: resume it first.";
    case "ready":
      return "Not possible with this process.";
    default:
      return `It is ${part.state}: wait a moment.`;
  }
}
