import { expect, it } from "vitest";
import { part, quietSnapshot } from "../sample";
import { flowModel } from "./model";

const parts = quietSnapshot().parts;
const withPart = (name: string, state: "stopped" | "paused" | "restarting") =>
  quietSnapshot({ parts: parts.map((one) => (one.name === name ? part(name, state) : one)) });

it("shows a stopped broker at both of its topics, and PostgreSQL at both outboxes", () => {
  const broker = flowModel(withPart("kafka", "stopped")).nodes;
  expect([broker["wallet-events"].health, broker["bill-events"].health, broker.outbox.health]).toEqual(["down", "down", "up"]);
  const database = flowModel(withPart("postgres", "paused")).nodes;
  expect([database.outbox.word, database["bill-outbox"].word]).toEqual(["paused", "paused"]);
});

it("tells one relay of two missing from both missing", () => {
  expect(flowModel(withPart("relay-wallet-1", "restarting")).nodes.relay).toMatchObject({ health: "partly", lines: ["1 of 2 up"] });
  const both = quietSnapshot({ parts: parts.map((one) => (one.name.startsWith("relay-wallet") ? part(one.name, "restarting") : one)) });
  expect(flowModel(both).nodes.relay).toMatchObject({ health: "waiting", word: "restarting" });
});

it("goes past outbox and relay while a run writes twice", () => {
  const run = { id: "1", state: "running", pattern: "dual-write", relay_mode: "poller", sent: 1, requests: 2, accepted: 1, declined: 0, failed: 0, crashes: 0, p50_ms: null, p99_ms: null, verdict: null, inconsistent: null } as const;
  expect(flowModel(quietSnapshot({ run })).bypass).toContain("commits, then publishes");
  expect(flowModel(quietSnapshot({ run })).nodes.relay.health).toBe("off");
  expect(flowModel(quietSnapshot({ run: { ...run, state: "finished" } })).bypass).toBeNull();
});
