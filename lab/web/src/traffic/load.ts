// The fields that Traffic and Compare have in common: their names for people, and what the server takes. Pure.
import { numberError } from "../parts/field";

interface NumberRange {
  label: string;
  min: number;
  max: number;
}

export const RANGES = {
  requests: { label: "Requests", min: 1, max: 1_000_000 },
  rate_per_s: { label: "Rate, per second", min: 1, max: 5000 },
  wallets: { label: "Wallets", min: 1, max: 1000 },
  seed: { label: "Seed", min: 0, max: 1_000_000_000 },
} satisfies Record<string, NumberRange>;
export type NumberName = keyof typeof RANGES;
export const NUMBERS = Object.keys(RANGES) as NumberName[];

/** By the names of the request. */
export const LABELS: Record<string, string> = {
  ...Object.fromEntries(NUMBERS.map((name) => [name, RANGES[name].label])),
  amount: "Amount",
  crash_share: "Crashes halfway",
  provider_fault_share: "Provider faults",
  pattern: "Pattern",
  arms: "Ways of writing",
};

/** The first number that the server would refuse, in a sentence; null if it would refuse none. */
export function firstWrong(load: Record<NumberName, number>): string | null {
  for (const name of NUMBERS) {
    const { label, min, max } = RANGES[name];
    const error = numberError(load[name], min, max);
    if (error !== null) return `${label}: ${error}.`;
  }
  return null;
}
