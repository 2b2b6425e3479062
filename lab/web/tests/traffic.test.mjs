// Traffic by the form: it is sent, it arrives, it can be stopped; what is refused is said near the button.
import assert from "node:assert/strict";
import { test } from "node:test";
import { enabled, figure, LATER, onTheTerminal, openQuiet, picture, says, switchTo } from "./lab-page.mjs";

test("payments that are sent arrive, and are counted", async (t) => {
  const page = await openQuiet(t, { hash: "traffic" });
  await page.getByLabel("Requests", { exact: true }).fill("120");
  await page.getByLabel("Rate, per second").fill("60");
  await page.getByRole("button", { name: "Start", exact: true }).click();
  const run = page.getByTestId("run");
  await says(run, /120 of 120 sent/, LATER);
  await run.locator(".verdict.good").waitFor({ timeout: LATER });
  assert.equal(await figure(run.locator("dl"), "accepted"), 120);
  await says(page.getByTestId("money-verdict"), /120 payments ended/, LATER);
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

test("a bad number is named and marked before it is sent", async (t) => {
  const page = await openQuiet(t, { hash: "traffic" });
  const wallets = page.getByLabel("Wallets", { exact: true });
  await wallets.fill("5000");
  assert.equal(await wallets.getAttribute("aria-invalid"), "true");
  const start = page.getByRole("button", { name: "Start", exact: true });
  assert.equal(await start.getAttribute("aria-disabled"), "true");
  await says(page.locator(".form .why"), /^Wallets: a whole number from 1 to 1,000\.$/);
  await says(page.locator(".field-error"), /from 1 to 1,000/);
  await wallets.fill("5");
  assert.equal(await wallets.getAttribute("aria-invalid"), "false");
  await enabled(start);
});

test("a field that the server refuses is named and marked", async (t) => {
  const page = await openQuiet(t, { hash: "traffic", expected: [/status of 4\d\d/] });
  const amount = page.getByLabel("Amount");
  for (const [text, why] of [["much", /^\s*Amount: must be an amount/], ["99999", /^\s*Amount: must be above 0, and at most 10000/]]) {
    await amount.fill(text);
    await page.getByRole("button", { name: "Start", exact: true }).click();
    await says(page.locator(".form .trouble"), why);
    assert.equal(await amount.getAttribute("aria-invalid"), "true");
    await says(page.locator(".field-error"), /must be/);
  }
  await amount.fill("1.00");
  assert.equal(await amount.getAttribute("aria-invalid"), "false");
  assert.equal(await page.locator(".form .trouble").count(), 0);
});

test("a run is shared by its address, with the form and the verdict", async (t) => {
  const page = await openQuiet(t, { hash: "traffic" });
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.getByRole("radio", { name: /^Dual write/ }).check();
  await page.getByLabel("Requests", { exact: true }).fill("60");
  await page.getByLabel("Seed").fill("77");
  await page.getByLabel("Crashes halfway").fill("20");
  await page.getByRole("button", { name: "Start", exact: true }).click();
  const verdict = page.getByTestId("run-verdict");
  await page.getByTestId("run").locator(".verdict.bad").waitFor({ timeout: LATER });
  const seen = await verdict.innerText();
  await page.getByRole("button", { name: /^Copy the link/ }).click();
  const link = await page.evaluate(() => navigator.clipboard.readText());
  assert.match(link, /#traffic\?pattern=dual-write&.*crash_share=0\.2&.*seed=77&verdict=/);
  await page.goto("about:blank");
  await page.goto(link);
  await says(page.getByTestId("shared-verdict").locator(".verdict.bad"), new RegExp(seen.trim().replace(/[.*+?^${}()|[\]\\]/g, "\\$&")));
  assert.equal(await page.getByRole("radio", { name: /^Dual write/ }).isChecked(), true);
  assert.equal(await page.getByLabel("Seed").inputValue(), "77");
  assert.equal(await page.getByLabel("Requests", { exact: true }).inputValue(), "60");
  assert.equal(await page.getByLabel("Crashes halfway").inputValue(), "20");
});

test("an action is copied as curl, and does the same on the terminal", async (t) => {
  const page = await openQuiet(t, { hash: "traffic" });
  await page.getByLabel("Requests", { exact: true }).fill("7");
  assert.equal(JSON.parse(await onTheTerminal(page, "Start")).requests, 7);
  await says(page.getByTestId("run"), /7 of 7 sent/, LATER);
  await page.getByTestId("run").locator(".verdict.good").waitFor({ timeout: LATER });
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
