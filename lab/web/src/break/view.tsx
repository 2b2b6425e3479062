// Break it: each part with the orders that hurt it, the replication slot, and the provider's moods. All for real.
import { reset, startTraffic } from "../orders";
import { OrderButton, Trouble, useOrder } from "../parts/order";
import { live, noTraffic, running } from "../state/store";
import { PartCard } from "./part-card";
import { ProviderMood } from "./provider-mood";
import { SlotCard } from "./slot-card";

export function BreakView() {
  const parts = live.value?.parts ?? [];
  return (
    <section aria-labelledby="break-title">
      <h2 id="break-title">Break it</h2>
      <p class="lead">
        These are real signals to real processes, at once and without a question. What is killed is started again by the lab; what
        is paused or stopped stays so until you say otherwise.
      </p>
      <Something />
      <h3>Services</h3>
      <div class="cards">
        {parts.filter((part) => part.kind === "service").map((part) => (
          <PartCard key={part.name} part={part} />
        ))}
      </div>
      <h3>Servers</h3>
      <div class="cards">
        {parts.filter((part) => part.kind === "server").map((part) => (
          <PartCard key={part.name} part={part} />
        ))}
        <SlotCard />
      </div>
      <h3>The provider's behaviour</h3>
      <ProviderMood />
    </section>
  );
}

/** A kill shows most while payments flow. */
function Something() {
  const order = useOrder();
  const mode = live.value?.relay_mode ?? "poller";
  const pour = (pattern: "outbox" | "dual-write") =>
    reset().then(() => startTraffic({ pattern, relay_mode: mode, requests: 6000, rate_per_s: 100, wallets: 50, amount: "1.00", crash_share: 0, provider_fault_share: 0, seed: 7 }));
  if (running.value) return <p class="hint">Payments are flowing: break something, and watch the money.</p>;
  return (
    <div class="hint">
      <p>Nothing flows at present, so a kill would hit nobody. Send 100 payments a second for a minute, and break something meanwhile. The money is counted anew.</p>
      <p class="orders">
        <OrderButton order={order} act={() => pour("outbox")} icon="start" why={noTraffic.value}>
          Send through the outbox
        </OrderButton>
        <OrderButton order={order} act={() => pour("dual-write")} icon="start" why={noTraffic.value}>
          Send through dual-write
        </OrderButton>
      </p>
      <Trouble order={order} />
    </div>
  );
}
