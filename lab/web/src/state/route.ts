// Where the reader is, in the address: #traffic?seed=7, #look-inside/tables/payments, #look-inside/trace/ID.
import { signal } from "@preact/signals";

export const VIEWS = ["flow", "traffic", "break", "money", "compare", "look-inside"] as const;
export type View = (typeof VIEWS)[number];

export interface Route {
  view: View;
  /** What follows the view: "tables/payments" -> ["tables", "payments"]. */
  rest: string[];
  /** After a question mark: a run of traffic that somebody shares. */
  query: string;
}

export function parseRoute(hash: string): Route | null {
  const [path = "", ...query] = hash.replace(/^#/, "").split("?");
  const [view, ...rest] = path.split("/").map(decode);
  const known = VIEWS.find((one) => one === view);
  return known ? { view: known, rest: rest.filter((part) => part !== ""), query: query.join("?") } : null;
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

const first: Route = { view: "flow", rest: [], query: "" };

export const route = signal<Route>(parseRoute(location.hash) ?? first);

export function traceLink(paymentId: string): string {
  return `#look-inside/trace/${encodeURIComponent(paymentId)}`;
}

/** Writes into the address what can be shared, without going anywhere. */
export function putQuery(view: View, query: string): void {
  history.replaceState(null, "", `#${view}?${query}`);
}

/** Follows the address; `moved` is called when another page is shown, so that it can be scrolled to and focused. */
export function followAddress(moved: () => void): void {
  addEventListener("hashchange", () => {
    const next = parseRoute(location.hash) ?? (location.hash === "" ? first : null);
    if (next === null) return;
    const before = route.peek();
    route.value = next;
    if (next.view !== before.view || next.rest[0] !== before.rest[0]) moved();
  });
}
