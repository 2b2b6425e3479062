// Four accidents that run by themselves: payments flow, something breaks, and when everything is at rest the money is counted.
import type { AccidentName } from "../contract";
import { count } from "../format";
import { causeAccident, stopTraffic } from "../commands";
import { CommandButton, Trouble, useCommand } from "../parts/command";
import { CopyAsCurl } from "../parts/copy";
import { Progress, VerdictLine } from "../parts/sign";
import { live, noTraffic, run } from "../state/store";
import { signOf } from "../state/verdict";

const ACCIDENTS: [name: AccidentName, title: string, about: string][] = [
  ["kill-wallet-api", "Kill wallet-api", "Payments are written by dual-write while wallet-api is killed eight times: some die between their two writes."],
  ["kill-relay", "Kill the relay", "Payments go through the outbox while both relays are killed three times: events may come twice, and none is missing."],
  ["kafka-away", "Take Kafka away", "Payments go through the outbox while Kafka is stopped for 20 seconds: they are accepted, wait, and are paid afterwards."],
  ["drop-slot", "Drop the slot", "The relays are switched to mode cdc, and lose their replication slot under way: they find the rows in the table."],
];

export function Accidents() {
  return (
    <ul class="cards accidents">
      {ACCIDENTS.map(([name, title, about]) => (
        <AccidentCard key={name} name={name} title={title} about={about} />
      ))}
    </ul>
  );
}

function AccidentCard({ name, title, about }: { name: AccidentName; title: string; about: string }) {
  const command = useCommand();
  const last = live.value?.accidents.find((one) => one.name === name);
  return (
    <li class="card part" data-testid={`accident-${name}`}>
      <p>{about}</p>
      <p class="commands">
        {last?.doing != null ? (
          <CommandButton command={command} act={stopTraffic} icon="stop">
            Stop
          </CommandButton>
        ) : (
          <CommandButton command={command} act={() => causeAccident(name)} icon="kill" look="danger" why={noTraffic.value}>
            {title}
          </CommandButton>
        )}
        {last?.doing != null ? <CopyAsCurl of="Stop" method="DELETE" path="/api/traffic" /> : <CopyAsCurl of={title} method="POST" path={`/api/accidents/${name}`} />}
      </p>
      {last?.doing != null && <Doing words={last.doing} />}
      {last?.verdict != null && (
        <VerdictLine verdict={{ sign: signOf(last.outcome), text: last.verdict }} />
      )}
      {(last?.outcome === "wrong" || last?.outcome === "money_lost") && (
        <p>
          <a href="#money">See which, and repair them</a>
        </p>
      )}
      <Trouble command={command} />
    </li>
  );
}

function Doing({ words }: { words: string }) {
  const { sent = 0, requests = 1 } = run.value ?? {};
  return (
    <>
      <Progress value={sent} max={requests} label={`${count(sent)} of ${count(requests)} payments sent`} />
      <p class="quiet">
        {count(sent)} of {count(requests)} sent; {words} …
      </p>
    </>
  );
}
