// Traffic: what to send, through which pattern, with which troubles; and how far it is.
import type { RelayMode } from "../contract";
import { ChoosePattern, RelayModeSwitch } from "./choices";
import { NumberField, ShareField, TextField } from "../parts/field";
import { CommandButton, Trouble, useCommand } from "../parts/command";
import { CopyAsCurl } from "../parts/copy";
import { VerdictLine } from "../parts/sign";
import { route } from "../state/route";
import { live, noTraffic } from "../state/store";
import { type Form, sentVerdict } from "./link";
import { firstWrong, LABELS, type NumberName, RANGES } from "./load";
import { RunState } from "./run-state";
import { form, start } from "./sharing";

export function TrafficView() {
  const command = useCommand();
  const set = (change: Partial<Form>) => {
    form.value = { ...form.value, ...change };
    command.forget();
  };
  const mode: RelayMode = live.value?.relay_mode ?? "poller";
  const { pattern, requests, rate_per_s, wallets, amount, crash_share, provider_fault_share } = form.value;
  const seconds = Math.ceil(requests / rate_per_s);
  const wrong = (name: string) => (command.field === name ? command.error : null);
  const number = (name: NumberName, hint: string) => (
    <NumberField {...RANGES[name]} value={form.value[name]} onChange={(value) => set({ [name]: value })} hint={hint} wrong={wrong(name)} />
  );
  return (
    <section aria-labelledby="traffic-title">
      <h2 id="traffic-title">Traffic</h2>
      <SharedVerdict query={route.value.query} />
      <div class="split traffic">
        <form class="form" onSubmit={(event) => event.preventDefault()}>
          <ChoosePattern value={pattern} onChange={(value) => set({ pattern: value })} />
          <div class="fields short">
            {number("requests", Number.isFinite(seconds) ? `takes about ${seconds} s` : "")}
            {number("rate_per_s", "1 to 5,000")}
            {number("wallets", wallets === 1 ? "one hot wallet" : "1: one hot wallet")}
            <TextField label={LABELS["amount"] ?? ""} value={amount} onChange={(value) => set({ amount: value })} hint="such as 1.00" wrong={wrong("amount")} />
          </div>
          <div class="fields">
            <ShareField label="Crashes halfway" value={crash_share} onChange={(value) => set({ crash_share: value })} hint="between the two writes; share of requests" />
            <ShareField label="Provider faults" value={provider_fault_share} onChange={(value) => set({ provider_fault_share: value })} hint="timeouts, errors, refusals" />
            {number("seed", "the same seed, the same traffic")}
          </div>
          <p class="commands">
            <CommandButton command={command} act={() => start(mode)} look="primary" icon="start" why={firstWrong(form.value) ?? noTraffic.value} sayWhy>
              Start
            </CommandButton>
            <CopyAsCurl of="Start" method="POST" path="/api/traffic" body={{ ...form.value, relay_mode: mode }} />
          </p>
          <Trouble command={command} labels={LABELS} />
        </form>
        <div>
          <RunState />
          <RelayModeSwitch />
        </div>
      </div>
    </section>
  );
}

/** What whoever sent this address saw, until a run of one's own is started. */
function SharedVerdict({ query }: { query: string }) {
  const verdict = sentVerdict(query);
  if (!verdict) return null;
  return (
    <div class="hint" data-testid="shared-verdict">
      <p>The form is filled in from the link. Whoever made the link saw this verdict; press Start to see yours.</p>
      <VerdictLine verdict={verdict} />
    </div>
  );
}
