import { expect, it } from "vitest";
import { SIGNS } from "../state/verdict";
import { AT_FIRST, formOf, queryOf, sentVerdict } from "./link";

const form = { pattern: "dual-write", requests: 200, rate_per_s: 50, wallets: 20, amount: "1.00", crash_share: 0.05, provider_fault_share: 0, seed: 7 } as const;

it("is read as it was written", () => {
  for (const sign of SIGNS) {
    const verdict = { sign, text: "Of 200 payments: 191 paid & 9 LOST." };
    const query = queryOf(form, verdict);
    expect(formOf(query)).toEqual(form);
    expect(sentVerdict(query)).toEqual(verdict);
  }
  expect(sentVerdict("verdict=All+is+well&sign=golden")?.sign).toBe("open");
  expect(sentVerdict(queryOf(form, null))).toBeNull();
});

it("leaves what is missing as it is at first, and what is no number to be marked", () => {
  expect(formOf("seed=7&requests=many")).toEqual({ ...AT_FIRST, seed: 7, requests: NaN });
});
