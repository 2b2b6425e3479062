// The last minutes of the live snapshots, one sample a second, as columns for a line chart. Pure, and bounded.
import type { Live } from "../contract";

/** Five minutes; with fewer, the story of a run is cut off, with many more, a phone draws too much. */
export const SAMPLES_MAX = 300;
const SAMPLE_MS = 1000;

export const SERIES = ["requests", "published", "consumed", "settled", "waiting", "oldest_s", "pending"] as const;
export type Series = (typeof SERIES)[number];

/** `at` in seconds (what uPlot takes); a gap is null. */
export interface History {
  at: number[];
  values: Record<Series, (number | null)[]>;
}

export function emptyHistory(): History {
  return { at: [], values: { requests: [], published: [], consumed: [], settled: [], waiting: [], oldest_s: [], pending: [] } };
}

/** The history with this snapshot, or the same one if its last sample is younger than a second. */
export function withSnapshot(history: History, live: Live): History {
  const last = history.at[history.at.length - 1];
  if (last !== undefined && live.at - last * 1000 < SAMPLE_MS - 50) return history;
  const sample = sampleOf(live);
  const values = {} as History["values"];
  for (const name of SERIES) values[name] = appended(history.values[name], sample[name]);
  return { at: appended(history.at, live.at / 1000), values };
}

function sampleOf({ flow, statistics }: Live): Record<Series, number | null> {
  return {
    requests: flow.requests,
    published: flow.published,
    consumed: flow.consumed,
    settled: flow.settled,
    waiting: sum(flow.outbox_wallet, flow.outbox_bill),
    oldest_s: seconds(larger(flow.oldest_wallet_ms, flow.oldest_bill_ms)),
    pending: statistics.pending,
  };
}

function appended<T>(column: T[], value: T): T[] {
  const next = column.length >= SAMPLES_MAX ? column.slice(column.length - SAMPLES_MAX + 1) : column.slice();
  next.push(value);
  return next;
}

/** Null only when both are unknown. */
function sum(a: number | null, b: number | null): number | null {
  return a === null && b === null ? null : (a ?? 0) + (b ?? 0);
}

function larger(a: number | null, b: number | null): number | null {
  return a === null && b === null ? null : Math.max(a ?? 0, b ?? 0);
}

function seconds(ms: number | null): number | null {
  return ms === null ? null : ms / 1000;
}
