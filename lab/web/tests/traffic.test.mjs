// Traffic by the form: it is sent, it arrives, it can be stopped; what is refused is said near the button.
import assert from "node:assert/strict";
import { test } from "node:test";
import { enabled, figure, LATER, openQuiet, picture, says, switchTo } from "./lab-page.mjs";

test("payments that are sent arrive, and are counted", async (t) => {
  const page = await openQuiet(t, { hash: "traffic" });
  await page.getByLabel("Requests", { exact: true }).fill("120");
  await page.getByLabel("Rate, per second").fill("60");
  await page.getByRole("button", { name: "Start", exact: true }).click();
  const run = page.getByTestId("run");
  await says(run, /120 of 120 sent/, LATER);
  await run.locator(".verdict.good").waitFor({ timeout: LATER });
  assert.equal(await figure(run.locator("dl"), "accepted"), 120);
  await says(page.getByTestId("money-verdict"), /120 accepted payments ended/, LATER);
  await picture(page, "traffic");
});

test("traffic is stopped half-way", async (t) => {
  const page = await openQuiet(t, { hash: "traffic" });
  await page.getByLabel("Requests", { exact: true }).fill("100000");
  await page.getByLabel("Rate, per second").fill("20");
  await page.getByRole("button", { name: "Start", exact: true }).click();
  const stop = page.getByRole("button", { name: "Stop", exact: true });
  await enabled(stop);
  await stop.click();
  await says(page.getByTestId("run"), /The last run, stopped/, LATER);
});

test("a refused order is explained near its button", async (t) => {
  const page = await openQuiet(t, { hash: "traffic", expected: [/status of 4\d\d/] });
  await page.getByLabel("Amount").fill("much");
  await page.getByRole("button", { name: "Start", exact: true }).click();
  await says(page.locator(".form .trouble"), /much|amount/i);
});

test("the relays are switched to cdc and back, and payments arrive in both", async (t) => {
  const page = await openQuiet(t, { hash: "traffic" });
  for (const mode of ["cdc", "poller"]) {
    await switchTo(page, mode);
    await page.getByLabel("Requests", { exact: true }).fill("50");
    const start = page.getByRole("button", { name: "Start", exact: true });
    await enabled(start, LATER);
    await start.click();
    await says(page.getByTestId("run"), new RegExp(`outbox by ${mode}: 50 of 50 sent`), LATER);
    await page.getByTestId("run").locator(".verdict.good").waitFor({ timeout: LATER });
  }
});
