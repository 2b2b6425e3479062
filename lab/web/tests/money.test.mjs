// One scope for the money, named; and what is lost is repaired from the page. Compared with the wallet database.
import assert from "node:assert/strict";
import { test } from "node:test";
import { enabled, figure, go, LAB_URL, LATER, openQuiet, says, shell } from "./lab-page.mjs";
import { losePayment, moment, payAtProvider, sql } from "./wallet.mjs";

test("a lost payment says by which pattern it was written, and is sent on its way again", async (t) => {
  const page = await openQuiet(t);
  const id = await losePayment();
  await go(page, `look-inside/trace/${id}`);
  const trace = page.getByTestId("trace");
  await says(trace, /LOST written by dual-write/);
  await says(trace, new RegExp(`curl -X POST .*/payments/${id}/redrive`));
  await says(page.getByTestId("money-verdict"), /1 payment LOST/);
  await trace.getByRole("button", { name: "Send it on its way again" }).click();
  await says(trace.locator(".trace-head"), /paid/);
  await says(page.getByTestId("money-verdict"), /1 payment ended/);
  assert.equal(await sql(`select status from payments where id = '${id}'`), "paid");
  assert.equal(await trace.getByRole("button").count(), 0);
});

test("all that a run has lost is sent on its way again, and the money turns green", async (t) => {
  const page = await openQuiet(t);
  const since = await moment();
  await page.getByRole("button", { name: "Run 200 payments through dual-write" }).click();
  await page.getByTestId("step-problem").filter({ visible: true }).locator(".verdict.bad").waitFor({ timeout: LATER });
  const pending = `select count(*) from payments where created_at >= ${since} and status = 'pending'`;
  const lost = await sql(pending);
  await go(page, "money");
  const finding = page.locator(".finding.bad", { hasText: "LOST" });
  await says(finding, new RegExp(`Written by: dual-write ${lost}\\.`));
  await finding.getByRole("button", { name: "Send them on their way again" }).click();
  await says(page.getByTestId("money-verdict"), /payments ended/, LATER);
  assert.equal(await figure(page.locator(".money-figures").first(), "LOST"), 0);
  assert.equal(await sql(pending), "0");
});

test("each loss is linked, and the line for the terminal sends on its way what was counted, and nothing before", async (t) => {
  const before = await losePayment();
  const page = await openQuiet(t, { hash: "money" });
  const lost = [];
  for (let n = 0; n < 11; n += 1) lost.push(await losePayment());
  const finding = page.locator(".finding.bad", { hasText: "LOST" });
  await says(finding, /Written by: dual-write 11\./);
  const links = await finding.locator(".examples a").evaluateAll((all) => all.map((one) => one.hash.split("/").at(-1)));
  assert.deepEqual(links.sort(), lost.sort());
  await shell(await finding.locator(".repair code").innerText());
  await says(page.getByTestId("money-verdict"), /11 payments ended/, LATER);
  assert.equal(await sql(`select status from payments where id = '${before}'`), "pending");
  await fetch(new URL(`/api/redrive/${before}`, LAB_URL), { method: "POST" });
});

test("counting from now leaves out what the provider had before, whatever its id", async (t) => {
  const page = await openQuiet(t, { hash: "money" });
  await payAtProvider();
  await says(page.getByTestId("money-verdict"), /1 AT PROVIDER, NOT HERE/);
  await page.getByRole("button", { name: "Count from now" }).click();
  await says(page.getByTestId("money-verdict"), /No payment was accepted since then/);
  await says(page.getByTestId("money-scope"), /^Counted: payments since \d\d:\d\d:\d\d\.$/);
  assert.equal(await page.locator(".finding:not(.good)").count(), 0);
});

test("a run counts its own payments only, and says so", async (t) => {
  const page = await openQuiet(t, { hash: "traffic" });
  await payAtProvider();
  await losePayment();
  await says(page.getByTestId("money-verdict"), /1 payment LOST.*1 AT PROVIDER, NOT HERE/);
  await page.getByLabel("Requests", { exact: true }).fill("60");
  const start = page.getByRole("button", { name: "Start", exact: true });
  await enabled(start);
  await start.click();
  await page.getByTestId("run").locator(".verdict.good").waitFor({ timeout: LATER });
  await says(page.getByTestId("money-scope"), /^Counted: this run since \d\d:\d\d:\d\d\.$/);
  await says(page.getByTestId("money-verdict"), /60 payments ended/);
});
