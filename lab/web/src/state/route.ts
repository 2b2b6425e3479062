// Where the reader is, in the address: #traffic, #look-inside/tables/payments, #look-inside/trace/ID.
import { signal } from "@preact/signals";

export const VIEWS = ["flow", "traffic", "break", "money", "compare", "look-inside"] as const;
export type View = (typeof VIEWS)[number];

export interface Route {
  view: View;
  /** What follows the view: "tables/payments" -> ["tables", "payments"]. */
  rest: string[];
}

export function parseRoute(hash: string): Route | null {
  const [view, ...rest] = hash.replace(/^#/, "").split("/").map(decode);
  const known = VIEWS.find((one) => one === view);
  return known ? { view: known, rest: rest.filter((part) => part !== "") } : null;
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

const first: Route = { view: "flow", rest: [] };

export const route = signal<Route>(parseRoute(location.hash) ?? first);

export function traceLink(paymentId: string): string {
  return `#look-inside/trace/${encodeURIComponent(paymentId)}`;
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
