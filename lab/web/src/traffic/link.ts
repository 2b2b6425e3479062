// A run as an address that can be sent to somebody: the form, and the verdict that the sender saw. Pure.
import type { Pattern, TrafficRequest } from "../contract";
import { type NumberName, NUMBERS } from "./load";

export type Form = Omit<TrafficRequest, "relay_mode">;

export interface SharedRun {
  form: Partial<Form>;
  /** The sentence, and whether money went wrong; null if the sender had none yet. */
  verdict: { text: string; wrong: boolean } | null;
}

const PATTERNS: Pattern[] = ["outbox", "listen-to-yourself", "dual-write", "publish-first"];
const SHARES = ["crash_share", "provider_fault_share"] as const;
/** Longer than any verdict of the server. */
const VERDICT_MAX = 400;

export function queryOf(form: Form, verdict: SharedRun["verdict"]): string {
  const query = new URLSearchParams(Object.entries(form).map(([name, value]) => [name, String(value)]));
  if (verdict) {
    query.set("verdict", verdict.text);
    query.set("wrong", String(verdict.wrong));
  }
  return query.toString();
}

/** What is no value of its field is left out: somebody may have typed the address. */
export function sharedRun(query: string): SharedRun | null {
  if (query === "") return null;
  const given = new URLSearchParams(query);
  const form: Partial<Form> = {};
  const pattern = PATTERNS.find((one) => one === given.get("pattern"));
  if (pattern) form.pattern = pattern;
  const amount = given.get("amount");
  if (amount) form.amount = amount;
  for (const name of [...NUMBERS, ...SHARES]) {
    const value = Number(given.get(name) ?? NaN);
    if (isValue(name, value)) form[name] = value;
  }
  const text = given.get("verdict")?.slice(0, VERDICT_MAX);
  return { form, verdict: text ? { text, wrong: given.get("wrong") === "true" } : null };
}

function isValue(name: NumberName | (typeof SHARES)[number], value: number): boolean {
  return name.endsWith("_share") ? value >= 0 && value <= 1 : Number.isInteger(value);
}
