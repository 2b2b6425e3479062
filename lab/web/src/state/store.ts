// The one store: the last snapshot, the connection, the chart's history, and the results of the guided runs.
import { computed, signal } from "@preact/signals";
import type { Live, Run } from "../contract";
import { emptyHistory } from "./history";

export const live = signal<Live | null>(null);
/** False while the lab's server is gone. */
export const connected = signal(true);
export const history = signal(emptyHistory());
/** Runs of this page's guided tour, by step; kept when later runs replace `live.run`. */
export const guided = signal<{ problem: Run | null; cure: Run | null }>({ problem: null, cure: null });

export const run = computed(() => live.value?.run ?? null);
export const money = computed(() => live.value?.money ?? null);
export const running = computed(() => run.value?.state === "running" || run.value?.state === "settling");

/** The accident that goes on. */
export const accident = computed(() => live.value?.accidents.find((one) => one.doing !== null) ?? null);

/** Why no command is possible now; null when one does. */
export const notNow = computed((): string | null => {
  if (!connected.value) return "The lab's server is gone.";
  if (live.value === null) return "Waiting for the lab.";
  if (!live.value.ready) return "The system is starting.";
  return null;
});

/** Why no traffic can be started now; null when it can. */
export const noTraffic = computed((): string | null => {
  if (notNow.value) return notNow.value;
  if (live.value?.comparison?.state === "running") return "A comparison is running: stop it, or wait until it has ended.";
  if (live.value?.slow_motion) return "One payment is shown in slow motion: end it first.";
  if (accident.value) return "An accident is going on: stop it, or wait for its verdict.";
  if (running.value) return "A run is going on: stop it, or wait until its money is counted.";
  if (live.value?.switching_to) return `The relays are being switched to ${live.value.switching_to}.`;
  return null;
});
