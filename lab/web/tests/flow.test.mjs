// The drawing and its figures: in each pattern they say what is in the databases, in Kafka and at the provider.
import assert from "node:assert/strict";
import { test } from "node:test";
import { enabled, figure, go, LAB_URL, LATER, openQuiet, picture, says } from "./lab-page.mjs";

const SENT = 120;

/** The newest rows and messages of a table, as far as they are new, straight from the databases, Kafka and the provider. */
async function newest(table, isNew) {
  const found = [];
  for (let before = ""; before !== null; ) {
    const url = new URL(`/api/tables/${table}?limit=500${before && `&before=${encodeURIComponent(before)}`}`, LAB_URL);
    const page = await (await fetch(url)).json();
    const rows = page.rows.map((row) => Object.fromEntries(row.map((cell, i) => [page.columns[i].name, cell])));
    const fresh = rows.filter(isNew);
    found.push(...fresh);
    before = fresh.length < rows.length ? null : page.next_before;
  }
  return found;
}

async function truth(begun) {
  const since = (row) => new Date(row.at ?? row.created_at).getTime() >= begun;
  const [payments, events, commands, results] = await Promise.all(
    ["payments", "wallet-events", "wallet-commands", "bill-events"].map((table) => newest(table, since)),
  );
  const ids = new Set(events.map(({ payment_id }) => payment_id));
  const [bills, received] = await Promise.all(["bills", "provider-payments"].map((table) => newest(table, ({ payment_id }) => ids.has(payment_id))));
  // A relay writes the row's number into a header; wallet-api has no row.
  const relayed = events.filter(({ headers }) => "outbox_seq" in headers).length;
  return {
    requests: SENT,
    committed: payments.filter(({ status }) => status !== "declined").length,
    queued: relayed,
    relayed,
    published_itself: events.length - relayed,
    commands: commands.length,
    commands_taken: commands.length,
    consumed: events.length,
    provider_calls: received.reduce((sum, { calls }) => sum + calls, 0),
    bills_ended: bills.filter(({ status }) => ["paid", "failed"].includes(status)).length,
    results_published: results.length,
    settled: results.length,
  };
}

/** What the page says of each passage since “Count from now”. */
function said(page) {
  return page.locator("[data-passage]").evaluateAll((rows) =>
    Object.fromEntries(rows.map((row) => [row.dataset.passage, Number(row.lastElementChild.textContent.replace(/\D/g, ""))])),
  );
}

const PATTERNS = [
  { pattern: "dual-write", name: /^Dual write/, busy: "published_itself", drawn: ["wallet-api", "database", "wallet-events"], not: ["relay", "outbox", "wallet-commands"] },
  { pattern: "publish-first", name: /^Publish first/, busy: "published_itself", drawn: ["wallet-api", "database", "wallet-events"], not: ["relay", "outbox"] },
  { pattern: "listen-to-yourself", name: /^Listen to yourself/, busy: "commands", drawn: ["wallet-commands", "database"], not: ["relay", "outbox"] },
  { pattern: "outbox", name: /^Outbox/, busy: "relayed", drawn: ["database", "debit", "outbox", "relay"], not: ["wallet-commands"] },
];

for (const { pattern, name, busy, drawn, not } of PATTERNS) {
  test(`in ${pattern} each figure of the flow is the truth`, async (t) => {
    const page = await openQuiet(t, { hash: "traffic" });
    const begun = Date.now();
    await page.getByRole("radio", { name }).check();
    await page.getByLabel("Requests", { exact: true }).fill(String(SENT));
    await page.getByLabel("Rate, per second").fill("40");
    await page.getByLabel("Crashes halfway").fill("10");
    await page.getByRole("button", { name: "Start", exact: true }).click();
    const drawing = page.locator(`.flow[data-pattern="${pattern}"]`);
    await says(drawing.locator(`[data-arrow="${busy}"] .rate`), /^[1-9]\d*\/s$/);
    await go(page, "flow");
    // In the chart, too.
    await says(page.locator(".key", { hasText: "published" }).locator("b"), /^[1-9]/);
    for (const node of drawn) assert.equal(await drawing.locator(`[data-node="${node}"]`).count(), 1, node);
    for (const node of not) assert.equal(await drawing.locator(`[data-node="${node}"]`).count(), 0, node);
    await go(page, "traffic");
    await page.getByTestId("run").locator(".verdict.good, .verdict.bad").waitFor({ timeout: LATER });
    // It keeps the pattern, and its idle arrows say nothing.
    await drawing.waitFor();
    await page.waitForFunction(() => [...document.querySelectorAll(".flow .rate")].every((rate) => rate.textContent === ""));
    await go(page, "flow");
    await page.getByText("The drawing as a table").click();
    const expected = await truth(begun);
    // Counters are read twice a second.
    const deadline = Date.now() + 5_000;
    let shown = await said(page);
    while (JSON.stringify(shown) !== JSON.stringify(expected) && Date.now() < deadline) shown = await said(page);
    assert.deepEqual(shown, expected);
    await go(page, "look-inside/statistics");
    const statistics = page.getByTestId("statistics");
    assert.equal(await figure(statistics, "outbox queued"), expected.queued + expected.bills_ended);
    assert.equal(await figure(statistics, "publishes ok"), expected.consumed + expected.commands + expected.results_published);
    // What is debited and nobody hears of, or the other way round.
    const cutOff = Math.abs(expected.committed - expected.consumed);
    assert.equal(cutOff > 0, pattern === "dual-write" || pattern === "publish-first");
    // The money is counted every few seconds.
    const lost = page.locator(".money-figures div", { has: page.getByText("LOST", { exact: true }) }).first().locator("dd");
    await says(lost, new RegExp(`\\b${pattern === "dual-write" ? cutOff : 0}\\b`));
    if (cutOff > 0) await lossesAreLinked(page, cutOff);
    if (pattern === "outbox") await picture(page, "drawing");
  });
}

async function lossesAreLinked(page, cutOff) {
  await page.locator(`[data-cut="${cutOff}"]`).waitFor();
  const losses = page.getByRole("list", { name: "Money lost" });
  await says(losses, new RegExp(`${cutOff} (LOST|AT PROVIDER, NOT HERE)`));
  const first = losses.getByRole("link").first();
  const id = (await first.getAttribute("title")).replace("Trace of ", "");
  await first.click();
  await says(page.getByTestId("trace"), new RegExp(id));
}

test("every figure says what it counts", async (t) => {
  const page = await openQuiet(t, { hash: "traffic" });
  await page.getByLabel("Requests", { exact: true }).fill("10");
  await page.getByRole("button", { name: "Start", exact: true }).click();
  await page.getByTestId("run").locator(".verdict.good").waitFor({ timeout: LATER });
  for (const view of ["flow", "traffic", "look-inside/statistics"]) {
    await go(page, view);
    await page.locator(".figures > div").first().waitFor();
    const mute = await page.evaluate(() => {
      const figures = [...document.querySelectorAll(".figures > div, .money-figures > div, .key")].filter((one) => one.title.length < 10);
      const arrows = [...document.querySelectorAll("[data-arrow]")].filter((one) => !/ since “Count from now”$/.test(one.querySelector("title")?.textContent ?? ""));
      return [...figures, ...arrows].map((one) => one.outerHTML.slice(0, 100));
    });
    assert.deepEqual(mute, [], view);
  }
});

test("the drawing is read from afar, on a phone too", async (t) => {
  const page = await openQuiet(t);
  const sizes = () =>
    page.locator(".flow").evaluate((svg) => {
      const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
      const size = (selector) => scale * Number.parseFloat(getComputedStyle(svg.querySelector(selector)).fontSize);
      return { main: size(".node.main .title"), rest: size(".node:not(.main) .title"), width: svg.getBoundingClientRect().width };
    });
  const wide = await sizes();
  assert.ok(wide.main >= 18 && wide.main > 1.2 * wide.rest, JSON.stringify(wide));
  await page.setViewportSize({ width: 375, height: 812 });
  await page.locator(".flow.upright").waitFor();
  const narrow = await sizes();
  assert.ok(narrow.main >= 18 && narrow.width > 330, JSON.stringify(narrow));
});

test("while Kafka is away one quiet line says when the money was counted", async (t) => {
  const page = await openQuiet(t, { hash: "break" });
  await page.getByText(/^Break one part yourself/).click();
  await page.getByRole("button", { name: "Send through the outbox" }).click();
  await says(page.getByTestId("money-verdict"), /Nothing is lost so far|payments ended/, LATER);
  const kafka = page.locator('[data-part="kafka"]');
  await kafka.getByRole("button", { name: "Stop kafka" }).click();
  const line = page.getByTestId("last-counted");
  await says(line, /^Kafka is away: last counted \d\d:\d\d:\d\d\.$/);
  assert.equal(await page.locator(".story-money .trouble").count(), 0);
  assert.ok((await line.boundingBox()).height < 50);
  await says(kafka.getByTestId("state"), /stopped/, LATER);
  await says(line, /^Kafka is away/);
  const start = kafka.getByRole("button", { name: "Start kafka", exact: true });
  await enabled(start);
  await start.click();
  await line.waitFor({ state: "detached", timeout: LATER });
});
