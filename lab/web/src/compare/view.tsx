// Compare: the same seeded traffic and the same troubles through each way of writing, one after the other.
import { useSignal } from "@preact/signals";
import type { CompareRequest, Comparison } from "../contract";
import { startComparison, stopComparison } from "../commands";
import { NumberField, ShareField } from "../parts/field";
import { type Command, CommandButton, Trouble, useCommand } from "../parts/command";
import { CopyAsCurl } from "../parts/copy";
import { Progress } from "../parts/sign";
import { live, noTraffic } from "../state/store";
import { firstWrong, LABELS, type NumberName, RANGES } from "../traffic/load";
import { ComparisonBars } from "./bars";
import { conclusionOf, noiseOf } from "./conclusion";
import { ComparisonTable } from "./table";

export const ARMS = ["dual-write", "outbox by poller", "outbox by cdc", "outbox by debezium", "listen-to-yourself"];

let kept: CompareRequest = { requests: 1000, rate_per_s: 200, wallets: 50, crash_share: 0.02, provider_fault_share: 0.05, seed: 1, arms: ARMS };

export function CompareView() {
  const form = useSignal(kept);
  const command = useCommand();
  const set = (change: Partial<CompareRequest>) => {
    kept = { ...form.value, ...change };
    form.value = kept;
    command.forget();
  };
  const { crash_share, provider_fault_share } = form.value;
  const wrong = (name: string) => (command.field === name ? command.error : null);
  const number = (name: NumberName, label = RANGES[name].label) => (
    <NumberField {...RANGES[name]} label={label} value={form.value[name]} onChange={(value) => set({ [name]: value })} wrong={wrong(name)} />
  );
  return (
    <section aria-labelledby="compare-title">
      <h2 id="compare-title">Compare</h2>
      <p class="lead">The same requests, the same crashes and the same faults go through each way of writing in turn. The relays are switched for real in between.</p>
      <form class="form" onSubmit={(event) => event.preventDefault()}>
        <Arms chosen={form.value.arms} onChange={(arms) => set({ arms })} />
        <div class="fields short">
          {number("requests", "Requests, each")}
          {number("rate_per_s")}
          {number("wallets")}
          {number("seed")}
        </div>
        <div class="fields">
          <ShareField label="Crashes halfway" value={crash_share} onChange={(value) => set({ crash_share: value })} />
          <ShareField label="Provider faults" value={provider_fault_share} onChange={(value) => set({ provider_fault_share: value })} />
        </div>
        <Commands form={form.value} command={command} />
      </form>
      <Result comparison={live.value?.comparison ?? null} />
    </section>
  );
}

function Commands({ form, command }: { form: CompareRequest; command: Command }) {
  const comparing = live.value?.comparison?.state === "running";
  const why = form.arms.length === 0 ? "Choose at least one way of writing." : (firstWrong(form) ?? noTraffic.value);
  return (
    <>
      <p class="commands">
        {comparing ? (
          <CommandButton command={command} act={stopComparison} icon="stop">
            Stop
          </CommandButton>
        ) : (
          <CommandButton command={command} act={() => startComparison(form)} look="primary" icon="start" why={why} sayWhy>
            Compare
          </CommandButton>
        )}
        {comparing ? <CopyAsCurl of="Stop" method="DELETE" path="/api/compare" /> : <CopyAsCurl of="Compare" method="POST" path="/api/compare" body={form} />}
      </p>
      <Trouble command={command} labels={LABELS} />
    </>
  );
}

function Arms({ chosen, onChange }: { chosen: string[]; onChange: (arms: string[]) => void }) {
  const toggled = (arm: string) => ARMS.filter((one) => (one === arm ? !chosen.includes(one) : chosen.includes(one)));
  return (
    <fieldset class="choices inline">
      <legend>Ways of writing</legend>
      {ARMS.map((arm) => (
        <label key={arm} class="choice">
          <input type="checkbox" checked={chosen.includes(arm)} onChange={() => onChange(toggled(arm))} />
          <span>{arm}</span>
        </label>
      ))}
    </fieldset>
  );
}

function Result({ comparison }: { comparison: Comparison | null }) {
  if (comparison === null) return <p class="empty">Nothing compared yet. With Kafka Connect to be started, all five take some minutes.</p>;
  const { state, current, done, total, rows } = comparison;
  const words = state === "running" ? `${current ?? "Preparing"} … ${done} of ${total} done` : state === "finished" ? "Finished." : `Stopped after ${done} of ${total}.`;
  return (
    <div data-testid="comparison" data-state={state}>
      <p class="comparison-state">{words}</p>
      <Conclusion comparison={comparison} />
      {state === "running" && <Progress value={done} max={total} label="Ways of writing compared" />}
      <ComparisonTable rows={rows} />
      <ComparisonBars rows={rows} />
    </div>
  );
}

function Conclusion({ comparison }: { comparison: Comparison }) {
  const conclusion = conclusionOf(comparison);
  if (conclusion === null) return null;
  const noise = noiseOf(comparison);
  return (
    <div class="conclusion" data-testid="conclusion">
      <p>{conclusion}</p>
      {noise && <p class="quiet">{noise}</p>}
    </div>
  );
}
