// A run as an address that can be sent to somebody: the form, and the verdict that the sender saw. Pure.
import type { TrafficRequest } from "../contract";
import { SIGNS, type Verdict } from "../state/verdict";

export type Form = Omit<TrafficRequest, "relay_mode">;

export const AT_FIRST: Form = {
  pattern: "outbox",
  requests: 1000,
  rate_per_s: 100,
  wallets: 50,
  amount: "1.00",
  crash_share: 0,
  provider_fault_share: 0,
  seed: 1,
};

/** Longer than any verdict of the server. */
const VERDICT_MAX = 400;

export function queryOf(form: Form, verdict: Verdict | null): string {
  const given = { ...form, ...(verdict && { verdict: verdict.text, sign: verdict.sign }) };
  return new URLSearchParams(Object.entries(given).map(([name, value]) => [name, String(value)])).toString();
}

/** Values are judged later, as if they had been typed. */
export function formOf(query: string): Form {
  const given = new URLSearchParams(query);
  const values = Object.entries(AT_FIRST).map(([name, usual]) => {
    const text = given.get(name) ?? String(usual);
    return [name, typeof usual === "number" ? Number(text) : text];
  });
  return Object.fromEntries(values) as Form;
}

export function sentVerdict(query: string): Verdict | null {
  const given = new URLSearchParams(query);
  const text = given.get("verdict");
  const sign = SIGNS.find((known) => known === given.get("sign")) ?? "open";
  return text ? { sign, text: text.slice(0, VERDICT_MAX) } : null;
}
