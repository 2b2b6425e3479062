// Each step of each pattern has a scene, and the line that it lights is in its excerpt, once.
import excerpts from "virtual:excerpts";
import { expect, test } from "vitest";
import { cut } from "../../excerpts";
import type { Outcome, Pattern, SlowMotion, SlowStep } from "../contract";
import { PATTERNS, nextLabel, planned, scene, verdictOf } from "./story";

const STEPS: SlowStep[] = ["begin", "first_write", "rest", "debit", "relay", "pay", "record", "report", "settle"];

function snapshot(pattern: Pattern, change: Partial<SlowMotion>): SlowMotion {
  const wallet = { id: "w", balance: "10", currency: "INR" };
  return {
    id: "1", pattern, wallet_id: "w", step: "begin", next: "first_write", steps_left: 8, victims: [], crashed: null, killed: [], waiting: false, response: null,
    facts: { payment_id: null, wallet, payment: null, outbox: [], dead_letters: [], commands: [], events: [], results: [], bill: null, bill_outbox: [], receipt: null },
    log_lines: null, verdict: null, ...change,
  };
}

test.each(PATTERNS.flatMap(({ value }) => STEPS.map((step) => [value, step] as const)))("%s, %s: the lit line is in the source", (pattern, step) => {
  const { code, line } = planned(step, pattern);
  if (line !== null) expect(excerpts[code].lines.filter((one) => one.includes(line))).toHaveLength(1);
});

test("excerpts are short, and say where they are from", () => {
  for (const { file, line, lines } of Object.values(excerpts)) {
    expect(lines.length, file).toBeLessThanOrEqual(40);
    expect(line).toBeGreaterThan(0);
  }
  const home = [excerpts.table, excerpts.append, excerpts.drain];
  expect(home.reduce((sum, { lines }) => sum + lines.length, 0)).toBeLessThanOrEqual(32);
});

test("a marker that is gone is an error that names it", () => {
  expect(() => cut("fn other() {}", { file: "a.rs", from: "fn pay(", to: "}" })).toThrow('a.rs has no "fn pay("');
  expect(cut("use a;\n    fn pay(\n        x\n    }\n", { file: "a.rs", from: "fn pay(", to: "\n    }" })).toEqual({ file: "a.rs", line: 2, lines: ["fn pay(", "    x", "}"] });
});

test("after a crash the scene says who died, and the next step is the restart", () => {
  const crashed = snapshot("dual-write", { step: "first_write", next: "restart", crashed: "rest", killed: ["wallet-api"] });
  expect(scene(crashed).title).toBe("kill -9 wallet-api");
  expect(scene(crashed).text).toContain("between its two writes");
  expect(nextLabel(crashed)).toBe("Start wallet-api again");
});

test("the verdict has the words of the audit", () => {
  const of = (findings: string[], status: string | null, outcome: Outcome = findings.length > 0 ? "money_lost" : "right") =>
    verdictOf(snapshot("outbox", { verdict: { findings, outcome, status } }));
  expect(of(["LOST"], "pending")).toMatchObject({ sign: "lost", title: "The audit: LOST", text: expect.stringContaining("nobody will ever pay") as string });
  expect(of(["AT PROVIDER, NOT HERE"], null)).toMatchObject({ sign: "lost", title: "The audit: AT PROVIDER, NOT HERE", text: expect.stringContaining("nobody was charged") as string });
  expect(of(["STUCK"], "pending", "wrong").sign).toBe("open");
  expect(of([], "paid").sign).toBe("good");
  expect(of([], "pending").sign).toBe("open");
});
