import { expect, it } from "vitest";
import { audit, run } from "../sample";
import type { Outcome, Run } from "../contract";
import { countOf, runVerdict, signOf, verdictOf } from "./verdict";

it("is good only when everything was counted and nothing is wrong", () => {
  expect(verdictOf(audit())).toEqual({
    sign: "good",
    text: "200 payments ended: 190 paid, 10 refunded. Nothing lost, nothing paid twice.",
  });
});

it("is open while payments are on the way, and before anything was counted", () => {
  expect(verdictOf(audit({ complete: false, in_flight: 1 })).text).toBe("Nothing is lost so far; 1 payment is on the way.");
  expect(verdictOf(audit({ accepted: 0 })).sign).toBe("open");
  expect(verdictOf(null).sign).toBe("open");
});

it("says at once what is lost, also while payments are on the way", () => {
  const lost = audit({ complete: false, in_flight: 30, findings: [{ kind: "LOST", outcome: "money_lost", count: 1, examples: ["a"], by_pattern: [] }] });
  expect(verdictOf(lost)).toEqual({ sign: "bad", text: "1 payment LOST: debited, and never to be paid." });
  expect(countOf(lost, "LOST")).toBe(1);
});

it("keeps the colour of lost money for lost money", () => {
  const found = (kind: string, outcome: Outcome) => ({ kind, outcome, count: 2, examples: [], by_pattern: [] });
  const [stuck, twice] = [found("STUCK", "wrong"), found("PAID TWICE", "money_lost")];
  expect(verdictOf(audit({ findings: [stuck] }))).toEqual({ sign: "trouble", text: "2 STUCK." });
  expect(verdictOf(audit({ findings: [stuck, twice] })).sign).toBe("bad");
  expect(signOf("wrong")).toBe("trouble");
  expect(signOf(null)).toBe("open");
});

it("says in two words how a run came out, or how far it is", () => {
  const short = (change: Partial<Run>) => runVerdict({ ...run, ...change }).short;
  expect(short({})).toBe("sending");
  expect(short({ state: "settling" })).toBe("counting");
  expect(short({ state: "finished", verdict: "Of 2 payments: 1 LOST; 1 paid.", outcome: "money_lost" })).toBe("money lost");
  expect(short({ state: "finished", verdict: "Of 2 payments: 2 STUCK; 0 paid.", outcome: "wrong" })).toBe("wrong");
  expect(short({ state: "finished", verdict: "Of 2 payments: 2 paid.", outcome: "right" })).toBe("nothing lost");
  expect(short({ state: "finished", verdict: "There is no verdict: a server is down." })).toBe("not known");
});
