import { expect, it } from "vitest";
import { problemText } from "./problem";

it("takes the detail, else the title, else the status", () => {
  expect(problemText(409, '{"title": "Conflict", "detail": "A run goes on."}')).toBe("A run goes on.");
  expect(problemText(409, '{"title": "Conflict"}')).toBe("Conflict");
  expect(problemText(502, "<html>")).toBe("The lab's server answered 502.");
  expect(problemText(500, '{"detail": 7}')).toBe("The lab's server answered 500.");
});

it("says what helps against an old token", () => {
  expect(problemText(403, '{"detail": "Not this page."}')).toBe("Not this page. If the lab was restarted, reload this page.");
});
