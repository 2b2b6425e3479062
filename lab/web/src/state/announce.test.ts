import { expect, it } from "vitest";
import { audit, part, quietSnapshot } from "../sample";
import { changes } from "./announce";

it("is silent about ticks", () => {
  const before = quietSnapshot({ money: audit() });
  const { flow } = before;
  expect(changes(before, quietSnapshot({ at: 2, flow: { ...flow, requests: 900 }, money: audit({ accepted: 300 }) }))).toEqual([]);
  expect(changes(null, before)).toEqual([]);
});

it("says that a part is down and up again, but not what lies between", () => {
  const up = quietSnapshot({ parts: [part("kafka")] });
  const down = quietSnapshot({ parts: [part("kafka", "stopped")] });
  const starting = quietSnapshot({ parts: [part("kafka", "starting")] });
  expect(changes(up, down)).toEqual(["kafka is stopped."]);
  expect(changes(down, starting)).toEqual([]);
  expect(changes(starting, up)).toEqual(["kafka is ready."]);
});

it("says once that money is lost", () => {
  const fine = quietSnapshot({ money: audit() });
  const one = quietSnapshot({ money: audit({ findings: [{ kind: "LOST", outcome: "money_lost", count: 1, examples: [], by_pattern: [] }] }) });
  const two = quietSnapshot({ money: audit({ findings: [{ kind: "LOST", outcome: "money_lost", count: 2, examples: [], by_pattern: [] }] }) });
  expect(changes(fine, one)).toEqual(["Money has been lost."]);
  expect(changes(one, two)).toEqual([]);
});
