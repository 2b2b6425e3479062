// The four accidents run by themselves, and the verdict of each is what the wallet database says.
import assert from "node:assert/strict";
import { test } from "node:test";
import { enabled, LATER, openQuiet, picture, says } from "./lab-page.mjs";
import { moment, sql } from "./wallet.mjs";

test("wallet-api is killed in dual-write, and the verdict counts the payments that are lost", async (t) => {
  const page = await openQuiet(t, { hash: "break" });
  const { card, verdict, since } = await cause(page, "kill-wallet-api", "Kill wallet-api");
  const [, accepted] = /^wallet-api was killed [1-8] times.*; of (\d+) payments: /.exec(verdict) ?? assert.fail(verdict);
  // A machine at rest may be between the two writes of no payment at all.
  const lost = / payments: (\d+) LOST[,;] /.exec(verdict)?.[1] ?? "0";
  const payments = `select count(*) from payments where created_at >= ${since} and pattern = 'dual-write'`;
  assert.equal(accepted, await sql(payments));
  assert.equal(lost, await sql(`${payments} and status = 'pending'`));
  assert.equal(await card.locator(".verdict.bad").count(), lost === "0" ? 0 : 1);
  await picture(page, "accidents");
});

test("the relays are killed, and nothing is lost", async (t) => {
  const page = await openQuiet(t, { hash: "break" });
  const caused = await cause(page, "kill-relay", "Kill the relay");
  assert.match(caused.verdict, /^Both relays of the wallet were killed [1-3] times/);
  await allPaid(caused);
});

test("Kafka is away for 20 seconds, and what was accepted meanwhile is paid", async (t) => {
  const page = await openQuiet(t, { hash: "break" });
  const caused = await cause(page, "kafka-away", "Take Kafka away", /Kafka is away for 20 s/);
  const meanwhile = Number(/^Kafka was away for 20 s, and (\d+) payments were accepted meanwhile/.exec(caused.verdict)?.[1]);
  assert.ok(meanwhile > 1000, caused.verdict);
  await allPaid(caused);
});

test("the slot is dropped in mode cdc, and the mode is as before", async (t) => {
  const page = await openQuiet(t, { hash: "break" });
  const mode = /relay mode \w+/.exec(await page.getByTestId("system-state").innerText())[0];
  const caused = await cause(page, "drop-slot", "Drop the slot");
  assert.match(caused.verdict, /^The replication slot was dropped under way/);
  await allPaid(caused);
  await says(page.getByTestId("system-state"), new RegExp(mode), LATER);
});

/** Causes an accident and waits for its verdict. `doing` is what its card has to say meanwhile. */
async function cause(page, name, title, doing = /sent;/) {
  const since = await moment();
  const card = page.getByTestId(`accident-${name}`);
  const button = card.getByRole("button", { name: title });
  await enabled(button, LATER);
  await button.click();
  await says(card, doing);
  await says(card.locator(".verdict"), /payments|no verdict/, LATER);
  return { card, since, verdict: await card.locator(".verdict").innerText() };
}

async function allPaid({ card, verdict, since }) {
  const payments = `select count(*) from payments where created_at >= ${since}`;
  const all = await sql(payments);
  assert.ok(verdict.includes(`; of ${all} payments: ${all} paid, 0 refunded; nothing was lost and nothing was paid twice.`), verdict);
  assert.equal(await sql(`${payments} and status = 'paid' and pattern is null`), all);
  assert.equal(await card.locator(".verdict.good").count(), 1);
}
