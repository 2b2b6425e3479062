// The patterns of writing, and the modes of the relay, each with what it means.
import { useState } from "preact/hooks";
import type { Pattern, RelayMode } from "../contract";
import { switchRelayMode } from "../commands";
import { type Choice, Choices } from "../parts/field";
import { CommandButton, Trouble, useCommand } from "../parts/command";
import { CopyAsCurl } from "../parts/copy";
import { live, running } from "../state/store";

const PATTERNS: Choice<Pattern>[] = [
  { value: "outbox", title: "Outbox", about: "Debit and event in one transaction; a relay publishes. A crash loses nothing." },
  { value: "listen-to-yourself", title: "Listen to yourself", about: "Publish the command, debit when it is heard. Nothing is lost, but the caller does not know yet whether there is money." },
  { value: "dual-write", title: "Dual write", about: "Commit, then publish. A crash between the two loses the payment." },
  { value: "publish-first", title: "Publish first", about: "Publish, then commit. After a crash between the two the bill is paid, and nobody was charged." },
];

const MODES: Choice<RelayMode>[] = [
  { value: "poller", title: "Poller", about: "asks the outbox table for rows" },
  { value: "cdc", title: "CDC", about: "PostgreSQL sends each committed row, through a replication slot" },
  { value: "debezium", title: "Debezium", about: "Kafka Connect does the same; the first switch starts a JVM and takes a while" },
];

export function ChoosePattern({ value, onChange }: { value: Pattern; onChange: (value: Pattern) => void }) {
  return <Choices legend="Pattern" name="pattern" choices={PATTERNS} value={value} onChange={onChange} />;
}

export function RelayModeSwitch() {
  const snapshot = live.value;
  const present = snapshot?.relay_mode ?? "poller";
  const [chosen, setChosen] = useState<RelayMode | null>(null);
  const command = useCommand();
  const wanted = chosen ?? present;
  const why = snapshot?.switching_to
    ? `The relays are being switched to ${snapshot.switching_to}.`
    : wanted === present
      ? `The relays are in mode ${present} already.`
      : snapshot?.comparison?.state === "running"
        ? "A comparison is running, and switches by itself."
        : null;
  const act = () => switchRelayMode(wanted).then(() => setChosen(null));
  return (
    <section class="card relay-mode" aria-labelledby="relay-mode-title">
      <h3 id="relay-mode-title">Relay mode: {present}</h3>
      <Choices legend="How the outbox reaches Kafka" name="relay-mode" choices={MODES} value={wanted} onChange={setChosen} />
      <p class="commands">
        <CommandButton command={command} act={act} icon="restart" why={why} sayWhy>
          {command.busy || snapshot?.switching_to ? "Switching …" : `Switch to ${wanted}`}
        </CommandButton>
        <CopyAsCurl of={`Switch to ${wanted}`} method="PUT" path="/api/relay-mode" body={{ mode: wanted }} />
      </p>
      {running.value && wanted !== present && <p class="quiet">Under load, too: events wait in the outbox meanwhile.</p>}
      <Trouble command={command} />
    </section>
  );
}
