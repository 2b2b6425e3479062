import { expect, it } from "vitest";
import { queryOf, sharedRun } from "./link";

const form = { pattern: "dual-write", requests: 200, rate_per_s: 50, wallets: 20, amount: "1.00", crash_share: 0.05, provider_fault_share: 0, seed: 7 } as const;

it("is read as it was written", () => {
  const verdict = { text: "Of 200 payments: 191 paid & 9 LOST.", wrong: true };
  expect(sharedRun(queryOf(form, verdict))).toEqual({ form, verdict });
  expect(sharedRun(queryOf(form, null))?.verdict).toBeNull();
});

it("leaves out what is no value of its field", () => {
  expect(sharedRun("pattern=magic&seed=7&requests=many&crash_share=2&verdict=")).toEqual({ form: { seed: 7 }, verdict: null });
  expect(sharedRun("")).toBeNull();
});
