// The replication slot of the wallet database, which modes cdc and debezium read from.
import { dropSlot } from "../commands";
import { CommandButton, Trouble, useCommand } from "../parts/command";
import { CopyAsCurl } from "../parts/copy";
import { live } from "../state/store";

export function SlotCard() {
  const command = useCommand();
  const mode = live.value?.relay_mode;
  const why = mode === "poller" ? "Mode poller has no slot: switch the relay to cdc or debezium first, in Traffic." : null;
  return (
    <section class="card part" aria-label="replication slot">
      <header class="part-head">
        <h4>replication slot</h4>
      </header>
      <p class="quiet">
        Where PostgreSQL remembers how far the relay has read. If you drop it under load, the relay recreates it and finds the missed events
        in the table.
      </p>
      <p class="commands">
        <CommandButton command={command} act={dropSlot} icon="drop" look="danger" why={why} sayWhy>
          Drop the slot
        </CommandButton>
        <CopyAsCurl of="Drop the slot" method="POST" path="/api/slot/drop" />
      </p>
      <Trouble command={command} />
    </section>
  );
}
