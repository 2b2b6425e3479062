// Breaking the system: what is killed or stopped is seen to be down and to come back, and nothing is lost.
import assert from "node:assert/strict";
import { test } from "node:test";
import { enabled, figure, heightsAbove, LATER, onTheTerminal, openQuiet, picture, says } from "./lab-page.mjs";

/** The single faults are folded below the accidents. */
async function unfold(page) {
  assert.equal(await page.locator(".view-break .accidents .button.danger:visible").count(), 4);
  assert.equal(await page.locator(".view-break .button.danger:visible").count(), 4);
  await page.getByText(/^Break one part yourself/).click();
}

const card = (page, name) => page.locator(`[data-part="${name}"]`);

test("a killed relay is seen to go and to come back, and nothing is lost", async (t) => {
  const page = await openQuiet(t, { hash: "break" });
  await unfold(page);
  await page.getByRole("button", { name: "Send through the outbox" }).click();
  await says(page.locator(".hint"), /Payments are flowing/);
  const relay = card(page, "relay-wallet-1");
  const restarts = Number(/(\d+) restart/.exec(await relay.innerText())?.[1]);
  await relay.getByRole("button", { name: /^Kill -9/ }).click();
  await says(relay, new RegExp(`${restarts + 1} restart`));
  await says(relay.getByTestId("state"), /ready/);
  await stopAndCount(page);
});

test("a stopped broker is shown, events wait for it, and go on when it is back", async (t) => {
  const page = await openQuiet(t, { hash: "break" });
  const heights = await heightsAbove(page);
  await unfold(page);
  await page.getByRole("button", { name: "Send through the outbox" }).click();
  await says(page.locator(".hint"), /Payments are flowing/);
  await says(page.getByTestId("money-verdict"), /Nothing is lost so far|payments ended/);
  const kafka = card(page, "kafka");
  await kafka.getByRole("button", { name: "Stop kafka" }).click();
  await says(kafka.getByTestId("state"), /stopped/, LATER);
  await says(page.locator('[data-node="wallet-events"]'), /stopped/);
  await says(page.locator('[data-node="outbox"]'), /[1-9]\S* waiting/);
  await picture(page, "break");
  const start = kafka.getByRole("button", { name: "Start kafka", exact: true });
  await enabled(start);
  await start.click();
  await says(kafka.getByTestId("state"), /ready/, LATER);
  await stopAndCount(page);
  assert.equal((await heights()).length, 1, `${await heights()}`);
});

test("in dual-write a real kill loses payments, and the page says so", async (t) => {
  const page = await openQuiet(t, { hash: "break", width: 1200 });
  const heights = await heightsAbove(page);
  await unfold(page);
  await page.getByRole("button", { name: "Send through dual-write" }).click();
  await says(page.locator(".hint"), /Payments are flowing/);
  const kafka = card(page, "kafka");
  const restarts = Number(/(\d+) restart/.exec(await kafka.innerText())?.[1]);
  await kafka.getByRole("button", { name: /^Kill -9/ }).click();
  await says(kafka, new RegExp(`${restarts + 1} restart`));
  await says(page.getByTestId("money-verdict"), /LOST/, LATER);
  await page.getByRole("link", { name: "Traffic", exact: true }).click();
  const stop = page.getByRole("button", { name: "Stop", exact: true });
  await enabled(stop);
  await stop.click();
  await page.getByTestId("run").locator(".verdict.bad").waitFor({ timeout: LATER });
  assert.equal((await heights()).length, 1, `${await heights()}`);
});

test("a paused part says so, and why the other buttons wait", async (t) => {
  const page = await openQuiet(t, { hash: "break" });
  await unfold(page);
  const payer = card(page, "bill-payer");
  await payer.getByRole("button", { name: "Pause bill-payer" }).click();
  await says(payer.getByTestId("state"), /paused/);
  await says(page.locator('[data-node="bill-payer"]'), /paused/);
  await payer.getByRole("button", { name: "Resume bill-payer" }).click();
  await says(payer.getByTestId("state"), /ready/);
  await payer.getByText("As curl").click();
  await onTheTerminal(page, "Pause bill-payer");
  await says(payer.getByTestId("state"), /paused/);
  await onTheTerminal(page, "Resume bill-payer");
  await says(payer.getByTestId("state"), /ready/);
  const slot = page.getByLabel("replication slot").getByRole("button", { name: "Drop the slot" });
  if (/relay mode poller/.test(await page.getByTestId("system-state").innerText())) {
    assert.equal(await slot.getAttribute("aria-disabled"), "true");
    assert.match(await slot.getAttribute("title"), /no slot/);
  }
});

/** Stops the traffic, waits until every payment has ended, and expects none lost. */
async function stopAndCount(page) {
  await page.getByRole("link", { name: "Traffic", exact: true }).click();
  const stop = page.getByRole("button", { name: "Stop", exact: true });
  await enabled(stop);
  await stop.click();
  await says(page.getByTestId("money-verdict"), /payments ended/, LATER);
  const money = page.locator(".money-figures").first();
  assert.equal(await figure(money, "LOST"), 0);
  assert.equal(await figure(money, "PAID TWICE"), 0);
}
