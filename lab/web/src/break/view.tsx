// Break it: four accidents; folded below them each process with the commands that disturb it, the slot, and the provider. All of it is real.
import { reset, startTraffic } from "../commands";
import type { TrafficRequest } from "../contract";
import { CommandButton, Trouble, useCommand } from "../parts/command";
import { CopyAsCurl } from "../parts/copy";
import { live, noTraffic, running } from "../state/store";
import { Accidents } from "./accidents";
import { PartCard } from "./part-card";
import { ProviderBehaviour } from "./provider-behaviour";
import { SlotCard } from "./slot-card";

/** Whether the single faults are in sight; kept while other views are looked at. */
let kept = false;

export function BreakView() {
  const parts = live.value?.parts ?? [];
  return (
    <section aria-labelledby="break-title">
      <h2 id="break-title">Break it</h2>
      <p class="lead">Four accidents with payments under way. Each runs by itself, takes about a minute, and ends with the money counted. The kills are real.</p>
      <Accidents />
      <details class="single" open={kept} onToggle={(event) => (kept = event.currentTarget.open)}>
        <summary>Break one part yourself: kill, pause or stop it, drop the slot, let the provider fail</summary>
        <p class="lead">
          These are real signals to real processes, sent at once and without a question. The lab restarts what is killed; what
          is paused or stopped stays so until you resume or start it.
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
        <ProviderBehaviour />
      </details>
    </section>
  );
}

/** A kill shows most while payments flow. */
function Something() {
  const command = useCommand();
  const mode = live.value?.relay_mode ?? "poller";
  const minute = (pattern: "outbox" | "dual-write"): TrafficRequest =>
    ({ pattern, relay_mode: mode, requests: 6000, rate_per_s: 100, wallets: 50, amount: "1.00", crash_share: 0, provider_fault_share: 0, seed: 7 });
  const pour = (pattern: "outbox" | "dual-write") => reset().then(() => startTraffic(minute(pattern)));
  if (running.value) return <p class="hint">Payments are flowing: break something, and watch the money.</p>;
  return (
    <div class="hint">
      <p>No payments flow at present, so a kill would show nothing. Send 100 payments a second for a minute, and break something meanwhile. The figures are reset first.</p>
      <p class="commands">
        <CommandButton command={command} act={() => pour("outbox")} icon="start" why={noTraffic.value}>
          Send through the outbox
        </CommandButton>
        <CopyAsCurl of="Send through the outbox" method="POST" path="/api/traffic" body={minute("outbox")} />
        <CommandButton command={command} act={() => pour("dual-write")} icon="start" why={noTraffic.value}>
          Send through dual-write
        </CommandButton>
        <CopyAsCurl of="Send through dual-write" method="POST" path="/api/traffic" body={minute("dual-write")} />
      </p>
      <Trouble command={command} />
    </div>
  );
}
