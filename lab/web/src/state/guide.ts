// The guided tour: the same small traffic through dual-write and through the outbox, and what came of each.
import type { Pattern, Run, TrafficRequest } from "../contract";
import { reset, startTraffic } from "../commands";
import { guided, live } from "./store";

export type Step = "problem" | "cure";

const PATTERN_OF: Record<Step, Pattern> = { problem: "dual-write", cure: "outbox" };

/** The same requests and the same crashes in both steps: the seed is fixed. */
export function guidedTraffic(step: Step): TrafficRequest {
  return {
    pattern: PATTERN_OF[step],
    relay_mode: live.value?.relay_mode ?? "poller",
    requests: 200,
    rate_per_s: 50,
    wallets: 20,
    amount: "1.00",
    crash_share: 0.05,
    provider_fault_share: 0,
    seed: 1,
  };
}

/** Resets the figures, so that they are those of this step. */
export async function startGuided(step: Step): Promise<void> {
  await reset();
  const started = await startTraffic(guidedTraffic(step));
  guided.value = { ...guided.value, [step]: started };
}

/** Takes over how far a guided run is, as long as it is the run that the server talks about. */
export function keepGuided(run: Run | null): void {
  if (run === null) return;
  const { problem, cure } = guided.peek();
  if (problem?.id === run.id) guided.value = { problem: run, cure };
  else if (cure?.id === run.id) guided.value = { problem, cure: run };
}
