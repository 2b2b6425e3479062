// Everything the page asks of the lab's server. Commands carry the token; whatever goes wrong is a CommandError to be shown.
import type { AccidentName, Behaviour, CompareRequest, PartAction, Pattern, RelayMode, Run, SlowMotion, TableInfo, TablePage, Trace, TrafficRequest } from "./contract";
import { problemField, problemText } from "./problem";

const token = document.querySelector<HTMLMetaElement>('meta[name="lab-token"]')?.content ?? "";

/** `message` is a sentence for people: the problem's detail, if the server sent one. */
export class CommandError extends Error {
  constructor(
    message: string,
    readonly status: number,
    /** The field of the request that is wrong, if the server names one. */
    readonly field: string | null = null,
  ) {
    super(message);
  }
}

export const startTraffic = (request: TrafficRequest) => send<Run>("POST", "/api/traffic", request);
export const stopTraffic = () => send<void>("DELETE", "/api/traffic");
export const reset = () => send<void>("POST", "/api/reset");
export const switchRelayMode = (mode: RelayMode) => send<void>("PUT", "/api/relay-mode", { mode });
export const setBehaviour = (behaviour: Behaviour) => send<void>("PUT", "/api/behaviour", behaviour);
export const actOnPart = (name: string, action: PartAction) =>
  send<void>("POST", `/api/parts/${encodeURIComponent(name)}`, { action });
export const dropSlot = () => send<void>("POST", "/api/slot/drop");
export const causeAccident = (name: AccidentName) => send<void>("POST", `/api/accidents/${name}`);
export const redrive = (paymentId: string) => send<void>("POST", `/api/redrive/${encodeURIComponent(paymentId)}`);
export const redriveAll = () => send<{ redriven: number }>("POST", "/api/redrive");
export const startComparison = (request: CompareRequest) => send<void>("POST", "/api/compare", request);
export const beginSlowMotion = (pattern: Pattern) => send<SlowMotion>("POST", "/api/slow-motion", { pattern });
export const stepSlowMotion = (id: string, how: "next" | "crash") => send<SlowMotion>("POST", `/api/slow-motion/${how}`, { id });
/** Also while the page is being closed. */
export const endSlowMotion = (id: string) => send<void>("POST", "/api/slow-motion/end", { id }, true);
export const stopComparison = () => send<void>("DELETE", "/api/compare");

export const readTables = (signal: AbortSignal) => read<{ tables: TableInfo[] }>("/api/tables", {}, signal);
export const readTable = (name: string, query: Query, signal: AbortSignal) =>
  read<TablePage>(`/api/tables/${encodeURIComponent(name)}`, query, signal);
export const readTrace = (paymentId: string, signal: AbortSignal) =>
  read<Trace>(`/api/trace/${encodeURIComponent(paymentId)}`, {}, signal);
export const readLogParts = (signal: AbortSignal) => read<{ parts: string[] }>("/api/logs", {}, signal);
export const readLog = (part: string, query: Query, signal: AbortSignal) =>
  read<{ lines: string[] }>(`/api/logs/${encodeURIComponent(part)}`, query, signal);

/** The same command for a terminal. The token holds until the lab is started again. */
export function curlOf(method: string, path: string, body?: object): string {
  const json = body ? ` -H 'content-type: application/json' -d '${JSON.stringify(body).replace(/'/g, "'\\''")}'` : "";
  return `curl -X ${method} ${location.origin}${path} -H 'x-lab-token: ${token}'${json}`;
}

/** Empty texts are left out of the address. */
export type Query = Record<string, string | number | null>;

async function send<Answer>(method: string, path: string, body?: object, keepalive = false): Promise<Answer> {
  const headers: Record<string, string> = { "x-lab-token": token };
  if (body) headers["content-type"] = "application/json";
  return call<Answer>(path, { method, headers, keepalive, ...(body ? { body: JSON.stringify(body) } : {}) });
}

async function read<Answer>(path: string, query: Query, signal: AbortSignal): Promise<Answer> {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== "");
  const search = new URLSearchParams(given.map(([name, value]) => [name, String(value)]));
  return call<Answer>(given.length > 0 ? `${path}?${search}` : path, { signal });
}

async function call<Answer>(path: string, init: RequestInit): Promise<Answer> {
  let response: Response;
  try {
    response = await fetch(path, init);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new CommandError("The lab's server did not answer. Is it still running?", 0);
  }
  const text = await response.text();
  if (!response.ok) throw new CommandError(problemText(response.status, text), response.status, problemField(text));
  return (text === "" ? undefined : JSON.parse(text)) as Answer;
}
