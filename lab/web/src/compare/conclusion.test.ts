import { expect, it } from "vitest";
import type { ComparisonRow } from "../contract";
import { conclusionOf, noiseOf } from "./conclusion";

const row = (arm: string, lost: number, change: Partial<ComparisonRow> = {}): ComparisonRow => ({
  arm, state: "done", error: null, accepted: 400, paid: 400 - lost, refunded: 0, lost, paid_twice: 0, duplicates: 0, p50_ms: 1, p90_ms: 2, p99_ms: 3,
  paid_p50_ms: 4, paid_p99_ms: 5, memory_bytes: null, took_ms: 6, ...change,
});
const of = (rows: ComparisonRow[]) => ({ state: "finished", current: null, done: rows.length, total: rows.length, rows }) as const;

it("says who lost, and who did not", () => {
  expect(conclusionOf(of([row("dual-write", 9), row("outbox by poller", 0), row("outbox by cdc", 0)]))).toBe(
    "dual-write lost 9 of 400 payments. outbox by poller and outbox by cdc lost nothing and paid nothing twice.",
  );
  expect(conclusionOf(of([row("dual-write", 0)]))).toMatch(/^dual-write lost nothing .* raise "Crashes halfway"/);
});

it("says that the times of few payments are noise", () => {
  expect(noiseOf(of([row("dual-write", 9)]))).toMatch(/with 400 payments each.* noise/);
  expect(noiseOf(of([row("dual-write", 9, { accepted: 50_000 })]))).toBeNull();
});
