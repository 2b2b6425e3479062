import { expect, it } from "vitest";
import { audit } from "../sample";
import { countOf, verdictOf } from "./verdict";

it("is good only when everything was counted and nothing is wrong", () => {
  expect(verdictOf(audit())).toEqual({
    sign: "good",
    text: "Each of 200 accepted payments ended: 190 paid, 10 refunded. Nothing lost, nothing paid twice.",
  });
});

it("is open while payments are on the way, and before anything was counted", () => {
  expect(verdictOf(audit({ complete: false, in_flight: 1 })).text).toBe("Nothing is lost so far; 1 payment is on the way.");
  expect(verdictOf(audit({ accepted: 0 })).sign).toBe("open");
  expect(verdictOf(null).sign).toBe("open");
});

it("says at once what is lost, also while payments are on the way", () => {
  const lost = audit({ complete: false, in_flight: 30, findings: [{ kind: "LOST", count: 1, examples: ["a"], by_pattern: [] }] });
  expect(verdictOf(lost)).toEqual({ sign: "bad", text: "1 payment LOST: debited, and never to be paid." });
  expect(countOf(lost, "LOST")).toBe(1);
});

it("keeps the colour of lost money for lost money", () => {
  const found = (kind: string) => ({ kind, count: 2, examples: [], by_pattern: [] });
  expect(verdictOf(audit({ findings: [found("STUCK")] }))).toEqual({ sign: "trouble", text: "2 STUCK." });
  expect(verdictOf(audit({ findings: [found("STUCK"), found("PAID TWICE")] })).sign).toBe("bad");
  expect(verdictOf(audit({ findings: [found("OF A LATER VERSION")] }))).toEqual({ sign: "bad", text: "2 OF A LATER VERSION." });
});
