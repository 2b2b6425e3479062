import { expect, it } from "vitest";
import { audit, part, quietSnapshot, run } from "../sample";
import { flowModel, lossesOf } from "./model";

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
  expect(flowModel(withPart("relay-wallet-1", "restarting")).nodes.relay).toMatchObject({ health: "partly", lines: ["poller", "1 of 2 up"] });
  const both = quietSnapshot({ parts: parts.map((one) => (one.name.startsWith("relay-wallet") ? part(one.name, "restarting") : one)) });
  expect(flowModel(both).nodes.relay).toMatchObject({ health: "waiting", word: "restarting" });
});

it("keeps the pattern of the run whose verdict is shown, until a reset", () => {
  expect(flowModel(quietSnapshot({ run: { ...run, state: "finished" } })).pattern).toBe("dual-write");
  expect(flowModel(quietSnapshot({ run: { ...run, state: "finished" } }), "publish-first").pattern).toBe("dual-write");
  expect(flowModel(quietSnapshot(), "publish-first").pattern).toBe("publish-first");
  expect(flowModel(quietSnapshot()).pattern).toBe("outbox");
});

it("counts what was cut off between the two writes", () => {
  const money = audit({ findings: [{ kind: "LOST", outcome: "money_lost", count: 9, examples: ["a"], by_pattern: [] }] });
  expect(flowModel(quietSnapshot({ run, money })).cut).toEqual({ count: 9, text: "9 cut off here" });
  expect(flowModel(quietSnapshot({ money })).cut.count).toBe(0);
  expect(lossesOf(money).map(({ kind }) => kind)).toEqual(["LOST"]);
});

it("says nothing on an arrow where nothing moves", () => {
  const quiet = quietSnapshot();
  expect(flowModel(quiet).arrows.requests.label).toBe("");
  const busy = quietSnapshot({ run, flow: { ...quiet.flow, published_itself: 45 } });
  expect(flowModel(busy).arrows.published_itself.label).toBe("45/s");
  expect(flowModel(busy).arrows.published_itself.about).toMatch(/^events published by wallet-api itself, without an outbox: 45/);
});
