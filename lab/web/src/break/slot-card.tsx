// The replication slot of the wallet database, which modes cdc and debezium read from.
import { dropSlot } from "../orders";
import { OrderButton, Trouble, useOrder } from "../parts/order";
import { live } from "../state/store";

export function SlotCard() {
  const order = useOrder();
  const mode = live.value?.relay_mode;
  const why = mode === "poller" ? "Mode poller has no slot: switch the relay to cdc or debezium first, in Traffic." : null;
  return (
    <section class="card part" aria-label="replication slot">
      <header class="part-head">
        <h4>replication slot</h4>
      </header>
      <p class="quiet">
        Where PostgreSQL remembers how far the relay has read. Dropped under load, it is made anew, and what it would have brought is
        found in the table.
      </p>
      <p class="orders">
        <OrderButton order={order} act={dropSlot} icon="drop" look="danger" why={why} sayWhy>
          Drop the slot
        </OrderButton>
      </p>
      <Trouble order={order} />
    </section>
  );
}
