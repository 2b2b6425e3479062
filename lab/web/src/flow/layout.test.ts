import { expect, it } from "vitest";
import type { Pattern } from "../contract";
import { type Box, type Layout, layoutFor } from "./layout";

const PATTERNS: Pattern[] = ["outbox", "dual-write", "publish-first", "listen-to-yourself"];
const every = (check: (layout: Layout, pattern: Pattern) => void) => {
  for (const pattern of PATTERNS) for (const width of [340, 1000]) check(layoutFor(width, pattern), pattern);
};

it("keeps the boxes inside the drawing and off one another", () => {
  every(({ width, height, nodes }) => {
    const outside = Object.entries(nodes).filter(([id]) => id !== "debit" && id !== "outbox");
    for (const [id, box] of Object.entries(nodes)) {
      expect([box.x >= 0, box.y >= 0, box.x + box.width <= width, box.y + box.height <= height], id).toEqual([true, true, true, true]);
      const meets = outside.filter(([other, it]) => other !== id && outside.some(([own]) => own === id) && overlap(box, it));
      expect(meets.map(([other]) => other), id).toEqual([]);
    }
  });
});

it("draws debit and event in one box of the outbox, and two numbered writes where there are two", () => {
  every(({ nodes, arrows, cut }, pattern) => {
    const steps = [arrows.committed?.step?.n, arrows.published_itself?.step?.n];
    if (pattern === "outbox") {
      expect(overlap(nodes.database as Box, nodes.outbox as Box)).toBe(true);
      expect([steps, cut]).toEqual([[undefined, undefined], null]);
    } else {
      expect(steps).toEqual({ "dual-write": [1, 2], "publish-first": [2, 1], "listen-to-yourself": [3, 4] }[pattern]);
      expect(cut !== null).toBe(pattern !== "listen-to-yourself");
    }
    expect(nodes["wallet-commands"] !== undefined).toBe(pattern === "listen-to-yourself");
  });
});

function overlap(a: Box, b: Box): boolean {
  return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
}
