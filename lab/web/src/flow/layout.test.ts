import { expect, it } from "vitest";
import { layoutFor } from "./layout";

it("keeps the drawing inside its width, whatever it is", () => {
  for (const width of [300, 336, 480, 739, 740, 800, 1000, 1600]) {
    const { nodes } = layoutFor(width);
    for (const box of Object.values(nodes)) {
      expect(box.x).toBeGreaterThanOrEqual(0);
      expect(box.x + box.width).toBeLessThanOrEqual(width);
    }
  }
});

it("leaves room for the longest title and for the arrows", () => {
  for (const width of [740, 800, 1000, 1600]) {
    const { nodes } = layoutFor(width);
    expect(nodes["wallet-events"].width).toBeGreaterThan(97);
    expect(nodes["wallet-events"].x - (nodes.relay.x + nodes.relay.width)).toBeGreaterThan(20);
  }
});
