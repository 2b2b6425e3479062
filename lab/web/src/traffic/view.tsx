// Traffic: what to send, through which pattern, with which troubles; and how far it is.
import { useSignal } from "@preact/signals";
import type { RelayMode, TrafficRequest } from "../contract";
import { ChoosePattern, RelayModeSwitch } from "./choices";
import { NumberField, ShareField, TextField } from "../parts/field";
import { CommandButton, Trouble, useCommand } from "../parts/command";
import { startTraffic } from "../commands";
import { live, noTraffic } from "../state/store";
import { RunState } from "./run-state";

const AT_FIRST: Omit<TrafficRequest, "relay_mode"> = {
  pattern: "outbox",
  requests: 1000,
  rate_per_s: 100,
  wallets: 50,
  amount: "1.00",
  crash_share: 0,
  provider_fault_share: 0,
  seed: 1,
};

/** Kept while the page is open, also when another view is looked at. */
let kept = AT_FIRST;

export function TrafficView() {
  const form = useSignal(kept);
  const command = useCommand();
  const set = (change: Partial<TrafficRequest>) => {
    kept = { ...form.value, ...change };
    form.value = kept;
  };
  const mode: RelayMode = live.value?.relay_mode ?? "poller";
  const { pattern, requests, rate_per_s, wallets, amount, crash_share, provider_fault_share, seed } = form.value;
  const seconds = Math.ceil(requests / rate_per_s);
  return (
    <section aria-labelledby="traffic-title">
      <h2 id="traffic-title">Traffic</h2>
      <div class="split traffic">
        <form class="form" onSubmit={(event) => event.preventDefault()}>
          <ChoosePattern value={pattern} onChange={(value) => set({ pattern: value })} />
          <div class="fields short">
            <NumberField label="Requests" value={requests} min={1} max={1_000_000} onChange={(value) => set({ requests: value })} hint={Number.isFinite(seconds) ? `takes about ${seconds} s` : "a whole number"} />
            <NumberField label="Rate, per second" value={rate_per_s} min={1} max={5000} onChange={(value) => set({ rate_per_s: value })} hint="1 to 5,000" />
            <NumberField label="Wallets" value={wallets} min={1} max={1000} onChange={(value) => set({ wallets: value })} hint={wallets === 1 ? "one hot wallet" : "1: one hot wallet"} />
            <TextField label="Amount" value={amount} onChange={(value) => set({ amount: value })} hint="such as 1.00" />
          </div>
          <div class="fields">
            <ShareField label="Crashes halfway" value={crash_share} onChange={(value) => set({ crash_share: value })} hint="between the two writes; share of requests" />
            <ShareField label="Provider faults" value={provider_fault_share} onChange={(value) => set({ provider_fault_share: value })} hint="timeouts, errors, refusals" />
            <NumberField label="Seed" value={seed} min={0} max={1_000_000_000} onChange={(value) => set({ seed: value })} hint="the same seed, the same traffic" />
          </div>
          <p class="commands">
            <CommandButton command={command} act={() => startTraffic({ ...form.value, relay_mode: mode })} look="primary" icon="start" why={noTraffic.value} sayWhy>
              Start
            </CommandButton>
          </p>
          <Trouble command={command} />
        </form>
        <div>
          <RunState />
          <RelayModeSwitch />
        </div>
      </div>
    </section>
  );
}
