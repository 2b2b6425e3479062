// One payment in slow motion, through each pattern, with a crash after each step: what the page shows is what SQL, Kafka and the provider
// say, and the audit says how it ended. SLOW_MOTION=all (`./dev test slow-motion`) crashes after each step of each pattern, which takes minutes;
// without it each pattern is crashed after its first write, and one of them where a relay dies and where bill-payer does not know what it has paid.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { test } from "node:test";
import { promisify } from "node:util";
import { enabled, go, LAB_URL, LATER, onTheTerminal, openQuiet, picture, says } from "./lab-page.mjs";

const WALKS = {
  "dual-write": ["first_write", "rest", "pay", "record", "report", "settle"],
  "publish-first": ["first_write", "rest", "pay", "record", "report", "settle"],
  outbox: ["first_write", "rest", "relay", "pay", "record", "report", "settle"],
  "listen-to-yourself": ["first_write", "debit", "pay", "record", "report", "settle"],
};

/** How the audit calls a crash between the two writes; after any other step the payment is paid. */
const BETWEEN = { "dual-write": /LOST/, "publish-first": /AT PROVIDER, NOT HERE/ };
const PAID = /nothing is wrong/;

for (const [pattern, walk] of Object.entries(WALKS)) {
  test(`${pattern}: a payment without a crash, step by step, forward and back`, async (t) => {
    const page = await openAlone(t);
    await begin(page, pattern);
    const shown = [await compare(page)];
    for (const step of walk) {
      await forward(page);
      assert.equal(await page.getByTestId("slow-step").getAttribute("data-step"), step);
      shown.push(await compare(page));
    }
    await forward(page);
    await says(page.getByTestId("slow-step"), PAID);
    await compare(page);
    await page.getByRole("heading", { name: "Take it home" }).waitFor();
    // Going back shows what was there then, and undoes nothing.
    for (const earlier of shown.reverse()) {
      await page.getByRole("button", { name: "Back", exact: true }).click();
      assert.deepEqual(await onPage(page), earlier);
    }
  });

  const few = pattern === "outbox" ? ["first_write", "rest", "pay"] : ["first_write"];
  const crashed = process.env.SLOW_MOTION === "all" ? walk.slice(0, -1) : few;
  for (const after of crashed) {
    const verdict = after === "first_write" ? (BETWEEN[pattern] ?? PAID) : PAID;
    test(`${pattern}: a crash after ${after}`, async (t) => {
      const page = await openAlone(t);
      if (pattern === "dual-write" && after === "first_write") await runBefore(page);
      await begin(page, pattern);
      for (const step of walk.slice(0, walk.indexOf(after) + 1)) {
        await forward(page);
        assert.equal(await page.getByTestId("slow-step").getAttribute("data-step"), step);
      }
      await press(page, /^Crash here$/);
      await says(page.getByTestId("slow-step"), /^kill -9/);
      await compare(page);
      await press(page, /^Start .* again$/);
      await compare(page);
      if (verdict === BETWEEN["dual-write"]) await says(page.getByTestId("slow-now"), /in the logs of all services: 0\./);
      if (after === "first_write" && (pattern === "outbox" || pattern === "dual-write")) {
        await press(page, /^Ask again/);
        const there = await compare(page);
        assert.deepEqual(there.response, ["202 pending (as before)"]);
        assert.deepEqual(there["wallet.events"], [], "nothing is published");
      }
      await press(page, /^Ask the audit$/);
      await says(page.getByTestId("slow-step"), verdict);
      const there = await compare(page);
      const isCharged = verdict !== BETWEEN["publish-first"];
      assert.deepEqual(there.wallets, [`balance ${isCharged ? "9.00" : "10.00"} INR`]);
      assert.equal(there.receipt.length, verdict === BETWEEN["dual-write"] ? 0 : 1);
      assert.equal(there.outbox.length, 0);
      if (verdict === BETWEEN["dual-write"]) {
        await picture(page, "slow-motion");
        // The money and the drawing are about this payment, whatever ran before.
        await says(page.getByTestId("money-verdict"), /^\D*1 payment LOST/);
        assert.equal(await page.locator(".story .flow").getAttribute("data-pattern"), "dual-write");
      }
    });
  }
}

test("while a payment stands still no traffic can be started, and a page that is closed leaves nothing paused", async (t) => {
  const page = await openAlone(t);
  await begin(page, "outbox");
  await go(page, "traffic");
  const start = page.getByRole("button", { name: "Start", exact: true });
  await page.waitForFunction((button) => button?.title.includes("slow motion"), await start.elementHandle());
  const token = await page.locator('meta[name="lab-token"]').getAttribute("content");
  const order = { method: "POST", headers: { "x-lab-token": token, "content-type": "application/json" } };
  const refused = await fetch(new URL("/api/reset", LAB_URL), { method: "POST", headers: order.headers });
  assert.equal(refused.status, 409);
  assert.match((await refused.json()).detail, /slow motion/);
  assert.match(await states(), /paused/);
  await page.goto("about:blank");
  await t.test("everything runs on", runsOn);
});

test("a payment in slow motion that a terminal has begun is ended from the page", async (t) => {
  const page = await openAlone(t);
  await page.getByTestId("slow-motion").getByRole("radio", { name: "outbox", exact: true }).check();
  assert.equal(JSON.parse(await onTheTerminal(page, "Begin")).pattern, "outbox");
  assert.match(await states(), /paused/);
  await page.getByRole("button", { name: "End the payment of another page" }).click();
  await t.test("everything runs on", runsOn);
});

test("in every size and colour the stage is accessible, and nothing sticks out", async (t) => {
  const page = await openAlone(t);
  await begin(page, "dual-write");
  await forward(page);
  await page.evaluate(readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8"));
  for (const [width, height] of [[1440, 900], [1280, 720], [768, 1024], [375, 800]]) {
    for (const colorScheme of ["light", "dark"]) {
      await page.setViewportSize({ width, height });
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      const { found, overhang } = await page.evaluate(async () => ({
        found: (await globalThis.axe.run()).violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html.slice(0, 120)).join(" | ")}`),
        overhang: document.documentElement.scrollWidth - document.documentElement.clientWidth,
      }));
      assert.deepEqual(found, [], `${width} px, ${colorScheme}`);
      assert.equal(overhang, 0, `${width} px`);
    }
  }
  // By the keyboard alone: forward, back, and the focus stays where something can be done.
  const next = page.getByTestId("slow-motion").getByRole("button", { name: /^Next/ });
  await next.focus();
  await page.keyboard.press("Shift+Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Back");
  await page.keyboard.press("Enter");
  await says(page.getByTestId("slow-step"), /Nothing has happened yet/);
  await page.getByTestId("slow-motion").getByRole("button", { name: "End", exact: true }).click();
});

async function runsOn() {
  const deadline = Date.now() + LATER;
  while (/paused/.test(await states())) assert.ok(Date.now() < deadline, await states());
}

async function states() {
  return (await fetch(new URL("/status", LAB_URL))).text();
}

/** A page of a system where no payment stands still, before the test and after it. */
async function openAlone(t) {
  t.after(stop);
  await stop();
  return openQuiet(t);
}

/** Ends whatever somebody has left: a page that was killed could not. */
async function stop() {
  const [, token] = /name="lab-token" content="([^"]+)"/.exec(await (await fetch(LAB_URL)).text());
  await fetch(new URL("/api/traffic", LAB_URL), { method: "DELETE", headers: { "x-lab-token": token } });
}

/** Traffic in another pattern, with its verdict. */
async function runBefore(page) {
  await go(page, "traffic");
  await page.getByLabel("Requests", { exact: true }).fill("20");
  const start = page.getByRole("button", { name: "Start", exact: true });
  await enabled(start, LATER);
  await start.click();
  await page.getByTestId("run").locator(".verdict.good").waitFor({ timeout: LATER });
  await go(page, "flow");
}

async function begin(page, pattern) {
  const slow = page.getByTestId("slow-motion");
  await slow.getByRole("radio", { name: pattern, exact: true }).check();
  const button = slow.getByRole("button", { name: /^Begin/ });
  await enabled(button, LATER);
  await button.click();
  await page.getByTestId("slow-step").filter({ hasText: "Nothing has happened yet" }).waitFor({ timeout: LATER }).catch(async (error) => {
    throw new Error(await slow.innerText(), { cause: error });
  });
  await page.locator(`.story .flow[data-pattern="${pattern}"]`).waitFor();
}

async function forward(page) {
  await press(page, /^(Next|Ask the audit)/);
}

/** Presses a button, and waits until what it asks for is done. */
async function press(page, name) {
  const count = page.locator(".slow-now .quiet");
  const before = await count.innerText();
  const button = page.getByTestId("slow-motion").getByRole("button", { name });
  await enabled(button, LATER);
  await button.click();
  await count.filter({ hasNotText: before }).waitFor({ timeout: LATER }).catch(async (error) => {
    throw new Error(await page.getByTestId("slow-motion").innerText(), { cause: error });
  });
}

/** Compares what the page shows with its sources, and returns it. */
async function compare(page) {
  const shown = await onPage(page);
  const wallet = await page.getByTestId("slow-stage").getAttribute("data-wallet");
  const { response, ...facts } = shown;
  assert.deepEqual(facts, await inSources(wallet, Object.keys(facts)), await page.getByTestId("slow-motion").locator(".slow-now").innerText());
  return shown;
}

/** The texts of each fact, by its name. */
function onPage(page) {
  return page.locator(".slow-boxes").evaluate((boxes) =>
    Object.fromEntries([...boxes.querySelectorAll("[data-fact]")].map((fact) => [fact.dataset.fact, [...fact.querySelectorAll("dd:not(.none)")].map((line) => line.textContent)])),
  );
}

/** The same, from where it is. */
async function inSources(wallet, names) {
  const stack = await (await fetch(new URL("/stack", LAB_URL))).json();
  const sql = async (url, select) => {
    const { stdout } = await promisify(execFile)("psql", [url, "-qAtX", "-F", " ", "-c", select]);
    return stdout.split("\n").filter((line) => line !== "");
  };
  const topic = async (name) => {
    const page = await (await fetch(new URL(`/api/tables/${name}?contains=${wallet}`, LAB_URL))).json();
    const at = (column) => page.columns.findIndex(({ name }) => name === column);
    const records = page.rows.map((row) => ({ text: `${row[at("partition")]}@${row[at("offset")]}  ${row[at("type")]}`, id: row[at("payment_id")] }));
    return records.reverse();
  };
  const short = (column) => `left(${column}::text, 8) || '…' || right(${column}::text, 6)`;
  const [wallets, bills] = [stack.wallet_database_url, stack.bill_payer_database_url];
  const [commands, events, results] = await Promise.all(["wallet-commands", "wallet-events", "bill-events"].map(topic));
  const ids = [...(await sql(wallets, `select id from payments where wallet_id = '${wallet}'`)), ...events.map(({ id }) => id), ...commands.map(({ id }) => id)];
  const id = ids[0] ?? "00000000-0000-0000-0000-000000000000";
  const receipt = await fetch(`${stack.mock_provider}/payments/${id}`);
  const received = receipt.ok ? await receipt.json() : null;
  const all = {
    wallets: await sql(wallets, `select 'balance ' || round(balance, 2) || ' ' || currency from wallets where id = '${wallet}'`),
    payments: await sql(wallets, `select ${short("id")} || '  ' || round(amount, 2) || ' ' || status from payments where wallet_id = '${wallet}'`),
    outbox: await sql(wallets, `select 'seq ' || seq || '  ' || type from outbox where aggregateid = '${wallet}' order by seq`),
    "dead letters": await sql(wallets, `select topic || ': ' || status from dead_letters where key = '${wallet}'`),
    bills: await sql(bills, `select ${short("payment_id")} || '  ' || round(amount, 2) || ' ' || status from bills where payment_id = '${id}'`),
    "bill-payer’s outbox": await sql(bills, `select 'seq ' || seq || '  ' || type from outbox where aggregateid = '${wallet}' order by seq`),
    "wallet.commands": commands.map(({ text }) => text),
    "wallet.events": events.map(({ text }) => text),
    "bill.events": results.map(({ text }) => text),
    receipt: received ? [`${received.receipt.slice(0, 8)}…${received.receipt.slice(-6)}  ${received.amount} ${received.currency}`] : [],
  };
  // What is not shown has to be empty.
  for (const [name, lines] of Object.entries(all)) if (!names.includes(name)) assert.deepEqual(lines, [], name);
  return Object.fromEntries(names.map((name) => [name, all[name]]));
}
