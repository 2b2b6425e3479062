// Two ways of writing, compared: the one loses, the other does not, and both are measured.
import assert from "node:assert/strict";
import { test } from "node:test";
import { enabled, LATER, openQuiet, picture, says } from "./lab-page.mjs";

test("dual-write and the outbox are compared on the same traffic", async (t) => {
  const page = await openQuiet(t, { hash: "compare" });
  for (const arm of ["outbox by cdc", "outbox by debezium", "listen-to-yourself"]) await page.getByRole("checkbox", { name: arm }).uncheck();
  await page.getByLabel("Requests, each").fill("200");
  await page.getByLabel("Crashes halfway").fill("10");
  const compare = page.getByRole("button", { name: "Compare", exact: true });
  await enabled(compare);
  await compare.click();
  await page.locator('[data-testid="comparison"][data-state="running"]').waitFor();
  await page.locator('[data-testid="comparison"][data-state="finished"]').waitFor({ timeout: LATER });
  assert.ok((await cell(page, "dual-write", "LOST")) > 0);
  assert.equal(await cell(page, "outbox by poller", "LOST"), 0);
  assert.ok((await cell(page, "outbox by poller", "p99")) > 0);
  await picture(page, "compare");
  const conclusion = page.getByTestId("conclusion");
  const lost = await cell(page, "dual-write", "LOST");
  await says(conclusion, new RegExp(`dual-write lost ${lost} of \\d+ payments\\. outbox by poller lost nothing`));
  await says(conclusion, /payments each.* noise/);
  await page.setViewportSize({ width: 375, height: 812 });
  const heading = await page.getByRole("columnheader", { name: "LOST" }).boundingBox();
  assert.ok(heading.x > 0 && heading.x + heading.width <= 375, JSON.stringify(heading));
});

async function cell(page, arm, column) {
  const titles = await page.locator(".table thead th").allInnerTexts();
  const row = page.locator(".table tbody tr", { has: page.getByRole("rowheader", { name: arm }) });
  const text = await row.locator("td").nth(titles.indexOf(column) - 1).innerText();
  return Number(text.replace(/[^0-9.]/g, ""));
}
