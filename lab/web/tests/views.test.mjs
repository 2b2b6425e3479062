// Each view, dark and light, small and wide: accessible by axe's rules, and nothing sticks out at the side.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { test } from "node:test";
import { go, open, says } from "./lab-page.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const VIEWS = [
  "flow", "traffic", "break", "money", "compare", "look-inside/tables/payments", "look-inside/tables/wallet-events",
  "look-inside/trace", "look-inside/logs", "look-inside/statistics",
];

for (const width of [360, 1280]) {
  for (const dark of [false, true]) {
    test(`every view is accessible at ${width} px, ${dark ? "dark" : "light"}`, async (t) => {
      const page = await open(t, { width, height: 800, dark });
      await says(page.getByTestId("system-state"), /relay mode/);
      await page.evaluate(AXE);
      for (const view of VIEWS) {
        await go(page, view);
        await page.locator(".view .empty", { hasText: /^Asking/ }).waitFor({ state: "detached" });
        const { found, overhang } = await page.evaluate(async () => ({
          found: (await globalThis.axe.run()).violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html.slice(0, 120)).join(" | ")}`),
          overhang: document.documentElement.scrollWidth - document.documentElement.clientWidth,
        }));
        assert.deepEqual(found, [], view);
        assert.equal(overhang, 0, `${view} sticks out by ${overhang} px`);
      }
    });
  }
}

test("the colours follow the switch, and are remembered", async (t) => {
  const page = await open(t);
  const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await paper();
  await page.getByLabel("Colours").selectOption("dark");
  assert.notEqual(await paper(), light);
  await page.reload();
  assert.notEqual(await paper(), light);
});

test("the keyboard gets past the introduction and to every view", async (t) => {
  const page = await open(t);
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the view");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "view");
  await page.getByRole("link", { name: "Compare", exact: true }).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { level: 2, name: "Compare" }).waitFor();
});

test("a lost connection is said, and made anew by itself", async (t) => {
  const page = await open(t, { expected: [/ERR_FAILED/], before: (blank) => blank.route("**/api/live", (route) => route.abort()) });
  await says(page.locator('[role="alert"] .banner'), /Connection lost, trying again/);
  await page.unroute("**/api/live");
  await says(page.getByTestId("system-state"), /relay mode/);
  assert.equal(await page.locator(".banner").count(), 0);
});
