// The form, and its run in the address: so that it can be sent to somebody, with the verdict.
import { effect, signal } from "@preact/signals";
import type { RelayMode } from "../contract";
import { startTraffic } from "../commands";
import { putQuery, route } from "../state/route";
import { run } from "../state/store";
import { runVerdict } from "../state/verdict";
import { AT_FIRST, type Form, formOf, queryOf } from "./link";

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

/** Whether the address bar has that run with its verdict. */
export function isShareable(): boolean {
  return run.value?.verdict != null && run.value.id === sent.value?.id;
}

effect(() => {
  if (route.value.query !== "") form.value = formOf(route.value.query);
});

effect(() => {
  if (run.value && sent.value && isShareable() && route.value.view === "traffic") putQuery("traffic", queryOf(sent.value.form, runVerdict(run.value)));
});
