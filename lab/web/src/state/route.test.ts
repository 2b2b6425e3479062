import { expect, it, vi } from "vitest";

vi.stubGlobal("location", { hash: "" });
const { parseRoute, traceLink } = await import("./route");

it("reads the view and what follows it", () => {
  expect(parseRoute("#look-inside/trace/a%2Fb")).toEqual({ view: "look-inside", rest: ["trace", "a/b"], query: "" });
  expect(parseRoute("#traffic")).toEqual({ view: "traffic", rest: [], query: "" });
});

it("leaves the query to whoever shares a run", () => {
  expect(parseRoute("#traffic?seed=7&verdict=a%2Fb")).toEqual({ view: "traffic", rest: [], query: "seed=7&verdict=a%2Fb" });
});

it("knows no other address", () => {
  expect(parseRoute("#view")).toBeNull();
  expect(parseRoute("")).toBeNull();
  expect(parseRoute("#%E0%A4%A")).toBeNull();
});

it("leads to a payment's trace and back", () => {
  expect(parseRoute(traceLink("019f"))).toEqual({ view: "look-inside", rest: ["trace", "019f"], query: "" });
});
