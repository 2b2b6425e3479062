// The form, and its run in the address: so that it can be sent to somebody, with the verdict.
import { effect, signal } from "@preact/signals";
import type { RelayMode, Run } from "../contract";
import { startTraffic } from "../commands";
import { putQuery, route } from "../state/route";
import { run } from "../state/store";
import { type Form, queryOf, sharedRun } from "./link";

const AT_FIRST: Form = {
  pattern: "outbox",
  requests: 1000,
  rate_per_s: 100,
  wallets: 50,
  amount: "1.00",
  crash_share: 0,
  provider_fault_share: 0,
  seed: 1,
};

/** Kept while the page is open, also when another view is looked at. */
export const form = signal<Form>(AT_FIRST);

/** The run that this page started last, and with which form. */
const sent = signal<{ id: string; form: Form } | null>(null);

/** Starts it, and puts the form into the address. */
export async function start(mode: RelayMode): Promise<void> {
  const request = form.peek();
  const started = await startTraffic({ ...request, relay_mode: mode });
  sent.value = { id: started.id, form: request };
  const query = queryOf(request, null);
  putQuery("traffic", query);
  route.value = { ...route.peek(), query };
}

/** The address of that run with its verdict is in the address bar. */
export function isShareable(present: Run): boolean {
  return present.verdict !== null && present.id === sent.value?.id;
}

/** Fills the form in from an address that somebody shares. */
effect(() => {
  const shared = sharedRun(route.value.query);
  if (shared) form.value = { ...AT_FIRST, ...shared.form };
});

effect(() => {
  const present = run.value;
  if (present?.verdict == null || present.id !== sent.value?.id || route.value.view !== "traffic") return;
  putQuery("traffic", queryOf(sent.value.form, { text: present.verdict, wrong: present.inconsistent ?? false }));
});
