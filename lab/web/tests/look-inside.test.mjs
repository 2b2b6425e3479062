// Looking inside: rows, a payment's trace, logs, statistics.
import assert from "node:assert/strict";
import { test } from "node:test";
import { figure, go, LATER, openQuiet, picture, says } from "./lab-page.mjs";

test("a payment is found in the tables and traced through the parts", async (t) => {
  const page = await openQuiet(t, { hash: "traffic" });
  await page.getByLabel("Requests", { exact: true }).fill("60");
  await page.getByRole("button", { name: "Start", exact: true }).click();
  await says(page.getByTestId("run"), /60 of 60 sent/, LATER);
  await page.getByTestId("run").locator(".verdict.good").waitFor({ timeout: LATER });
  await go(page, "look-inside/statistics");
  assert.ok((await figure(page.getByTestId("statistics"), "writes ok")) >= 60);
  await go(page, "look-inside/tables/payments");
  await page.getByRole("region", { name: "Payments" }).locator("tbody tr").nth(20).waitFor();
  await picture(page, "look-inside");
  const first = page.locator("tbody a.id").first();
  const id = (await first.getAttribute("title")).replace("Trace ", "");
  await first.click();
  await says(page.getByTestId("trace"), new RegExp(id));
  assert.ok((await page.locator(".trace li").count()) >= 3);
});

test("pages go older and newer, and a filter leaves what begins so", async (t) => {
  const page = await openQuiet(t, { hash: "look-inside/tables/payments" });
  const firstId = () => page.locator("tbody a.id").first().getAttribute("title");
  await page.locator("tbody a.id").first().waitFor();
  const newest = await firstId();
  const older = page.getByRole("button", { name: "Older" });
  await older.click();
  await says(page.locator(".pager"), /page 2/);
  await page.locator('.scroller[aria-busy="false"]').waitFor();
  assert.notEqual(await firstId(), newest);
  await page.getByRole("button", { name: "Newer" }).click();
  await says(page.locator(".pager"), /(?<!not )live\s*$/);
  await page.locator('.scroller[aria-busy="false"]').waitFor();
  const id = newest.replace("Trace ", "");
  await page.getByRole("searchbox").fill(id);
  await page.waitForFunction(() => document.querySelectorAll("tbody tr").length === 1);
  assert.equal(await firstId(), newest);
});

test("every table can be looked at", async (t) => {
  const page = await openQuiet(t, { hash: "look-inside/tables" });
  const links = page.getByRole("navigation", { name: "Tables and messages" }).getByRole("link");
  await links.first().waitFor();
  assert.ok((await links.count()) >= 15);
  for (const link of await links.all()) {
    await link.click();
    await page.getByRole("heading", { level: 3, name: await link.innerText(), exact: true }).waitFor();
    await page.locator(".inside-main .table, .inside-main .empty:text('Empty.')").waitFor();
    assert.equal(await page.locator(".trouble").count(), 0);
  }
});

test("each relay has a log of its own, which can be filtered", async (t) => {
  const page = await openQuiet(t, { hash: "look-inside/logs" });
  const links = page.getByRole("navigation", { name: "Logs" }).getByRole("link");
  await links.first().waitFor();
  const names = await links.allInnerTexts();
  for (const name of ["wallet-api", "relay-wallet-1", "relay-bill"]) assert.ok(names.includes(name), `${name} in ${names}`);
  await page.getByRole("link", { name: "relay-wallet-1", exact: true }).click();
  await says(page.getByRole("region", { name: "Log of relay-wallet-1" }), /\S/);
  await page.getByRole("searchbox").fill("no line has this");
  await says(page.locator(".inside-main"), /No such line/);
});
