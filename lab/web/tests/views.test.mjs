// Each view, dark and light, small and wide: accessible by axe's rules, and nothing sticks out at the side, lies on its neighbour or is cut off.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { test } from "node:test";
import { crowded, go, LAB_URL, open, says, stands } from "./lab-page.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const VIEWS = [
  "flow", "traffic", "break", "money", "compare", "look-inside/tables/payments", "look-inside/tables/wallet-events",
  "look-inside/trace", "look-inside/logs", "look-inside/statistics",
];

for (const width of [360, 768, 1280]) {
  for (const dark of [false, true]) {
    test(`every view is accessible at ${width} px, ${dark ? "dark" : "light"}`, async (t) => {
      const page = await open(t, { width, height: 800, dark });
      await says(page.getByTestId("system-state"), /relay mode/);
      await page.evaluate(AXE);
      for (const view of VIEWS) {
        await go(page, view);
        await page.locator("details.single").evaluateAll((all) => all.forEach((details) => (details.open = true)));
        await page.locator(".view .empty", { hasText: /^Asking/ }).waitFor({ state: "detached" });
        const { found, overhang } = await page.evaluate(async () => ({
          found: (await globalThis.axe.run()).violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html.slice(0, 120)).join(" | ")}`),
          overhang: document.documentElement.scrollWidth - document.documentElement.clientWidth,
        }));
        assert.deepEqual(found, [], view);
        assert.deepEqual(await crowded(page), [], view);
        assert.equal(overhang, 0, `${view} sticks out by ${overhang} px`);
      }
    });
  }
}

for (const [hash, heading, content] of [
  ["break", "Break it", ".view .accidents li"],
  ["look-inside/trace/019f0000-0000-7000-8000-000000000000", "Look inside", ".view .trouble, .view .empty"],
]) {
  test(`an address such as #${hash.split("/").slice(0, 2).join("/")} is scrolled to when the page is loaded`, async (t) => {
    for (const [width, height] of [[1280, 720], [1440, 900], [375, 812]]) {
      const page = await open(t, { hash, width, height, expected: [/status of 404/] });
      await stands(page.getByRole("heading", { level: 2, name: heading }), ({ top, bottom }) => top >= 0 && bottom <= height);
      await stands(page.locator(content).first(), ({ top }) => top < height * 0.9);
    }
  });
}

test("the page is one request below 250 KB, and nothing moves where less motion is wanted", async (t) => {
  const asked = [];
  const page = await open(t, {
    before: async (page) => {
      page.on("requestfinished", (request) => asked.push(new URL(request.url()).pathname));
      await page.emulateMedia({ reducedMotion: "reduce" });
    },
  });
  await says(page.getByTestId("system-state"), /relay mode/);
  assert.deepEqual(asked.filter((path) => !path.startsWith("/api/")), ["/"]);
  const { size } = await (await fetch(LAB_URL)).blob();
  assert.ok(size < 250_000, `${size} bytes`);
  assert.equal(await page.evaluate(() => document.getAnimations().filter((one) => one.playState === "running" && one.effect.getComputedTiming().duration > 50).length), 0);
});

test("what is no id is refused in plain words", async (t) => {
  const page = await open(t, { hash: "look-inside/trace/nonsense", expected: [/status of 400/] });
  await says(page.locator(".view .trouble"), /`nonsense`: this is not an id/);
});

test("on a phone each view is told from the others at a glance", async (t) => {
  const page = await open(t, { width: 375, height: 812 });
  await says(page.getByTestId("system-state"), /relay mode/);
  const headings = { traffic: "Traffic", break: "Break it", money: "The money", compare: "Compare", "look-inside": "Look inside" };
  for (const [view, name] of Object.entries(headings)) {
    await page.goto("about:blank");
    await page.goto(new URL(`/#${view}`, LAB_URL).href);
    await says(page.getByTestId("system-state"), /relay mode/);
    await stands(page.getByRole("heading", { level: 2, name }), ({ top, bottom, above }) => bottom < 812 / 2 && top >= above);
  }
});

test("the introduction folds to a line in another view, and unfolds again", async (t) => {
  const page = await open(t);
  const story = page.getByRole("heading", { name: "200 payments, two writes each" });
  await story.waitFor();
  await go(page, "compare");
  await story.waitFor({ state: "hidden" });
  const line = page.getByRole("button", { name: "Slow motion, and the three steps" });
  assert.ok((await page.locator(".introduction-line").boundingBox()).height < 60);
  await line.click();
  await story.waitFor();
  await go(page, "flow");
  await story.waitFor();
});

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
