// Opens the page of a running lab in a browser and watches it: no error in its console, no request to another host.
//
// LAB_URL      the lab, such as http://127.0.0.1:8090 (needed)
// CHROMIUM     the browser's path, /usr/bin/chromium if not given
// SCREENSHOTS  a folder for pictures of the views; none are taken without it
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { chromium } from "playwright-core";

export const LAB_URL = new URL(process.env.LAB_URL ?? fail("LAB_URL is not set: the address of a running lab"));

/** What the real system may take for a state to come about, ms. */
export const SOON = 30_000;
export const LATER = 180_000;

const ARGUMENTS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

/**
 * A page of its own for the test `t`, closed at its end; then what it said and asked for is judged.
 * `expected` are patterns of console errors that the test provokes.
 */
export async function open(t, { hash = "", width = 1440, height = 900, dark = false, expected = [], before = async () => {} } = {}) {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ARGUMENTS });
  const complaints = [];
  const page = await browser.newPage({ viewport: { width, height }, colorScheme: dark ? "dark" : "light" });
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(`${message.type()}: ${message.text()}`);
  });
  page.on("pageerror", (error) => complaints.push(`thrown: ${error.message}`));
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.protocol !== "data:" && url.host !== LAB_URL.host) complaints.push(`asked ${url.host} for ${url.pathname}`);
  });
  t.after(async () => {
    await browser.close();
    assert.deepEqual(complaints.filter((said) => !expected.some((pattern) => pattern.test(said))), []);
  });
  await before(page);
  await page.goto(new URL(`/#${hash}`, LAB_URL).href);
  return page;
}

/** As `open`, once the system is ready and no traffic is left over from before. */
export async function openQuiet(t, options = {}) {
  const page = await open(t, { ...options, hash: "traffic" });
  await enabled(page.getByRole("button", { name: "Count from now", exact: true }), LATER);
  const stop = page.getByRole("button", { name: "Stop", exact: true });
  if ((await stop.getAttribute("aria-disabled")) === "false") await stop.click();
  await enabled(page.getByRole("button", { name: "Start", exact: true }), LATER);
  // Waited for: a run that begins before it is done would be refused, or reset.
  await Promise.all([page.waitForResponse("**/api/reset"), page.getByRole("button", { name: "Count from now", exact: true }).click()]);
  await go(page, options.hash ?? "flow");
  return page;
}

/** The heights that what stands above every view has had since then: whatever is said there, a button below must not move. */
export async function heightsAbove(page) {
  await page.evaluate(() => {
    const above = document.querySelector(".always");
    window.heightsAbove = new Set();
    new ResizeObserver(() => window.heightsAbove.add(above.offsetHeight)).observe(above);
  });
  return () => page.evaluate(() => [...window.heightsAbove]);
}

/** Buttons and verdicts that lie on one another, and words of theirs that are cut off. */
export function crowded(page) {
  return page.evaluate(() => {
    const all = [...document.querySelectorAll(".button, .verdict")].filter((one) => one.checkVisibility() && one.getBoundingClientRect().height > 0);
    const words = (one) => one.textContent.trim().slice(0, 60);
    const overlap = (one, other) => {
      const [a, b] = [one.getBoundingClientRect(), other.getBoundingClientRect()];
      return a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
    };
    return [
      ...all.flatMap((one, at) => all.slice(at + 1).filter((other) => overlap(one, other)).map((other) => `${words(one)} / ${words(other)}`)),
      ...all.flatMap((one) => [one, ...one.querySelectorAll("*")]).filter((one) => one.scrollWidth > one.clientWidth + 1 && one.clientWidth > 0).map((one) => `cut off: ${words(one)}`),
    ];
  });
}

export async function go(page, hash) {
  await page.evaluate((to) => {
    location.hash = to;
  }, hash);
  await page.locator(`.view-${hash.split("/")[0]}`).waitFor();
}

/** Waits until an order can be given; says the reason why not when it can't. */
export async function enabled(button, timeout = SOON) {
  const free = button.and(button.page().locator('[aria-disabled="false"]'));
  await free.waitFor({ timeout }).catch(async (error) => {
    throw new Error(`still disabled: ${await button.getAttribute("title")}`, { cause: error });
  });
}

/** Waits until the element holds text that matches; the error has what it held last. */
export async function says(locator, pattern, timeout = SOON) {
  await locator.filter({ hasText: pattern }).first().waitFor({ timeout }).catch(async (error) => {
    const said = await locator.allTextContents();
    throw new Error(`waited for ${pattern}, found ${JSON.stringify(said)}`, { cause: error });
  });
}

/**
 * Waits until the element stands as `fits` wants it, given its top and bottom on the screen and the bottom of what hides it above.
 * The page scrolls to a view only after its first snapshot, which may come after all that the view shows.
 */
export async function stands(locator, fits) {
  // What is not shown stands at 0.
  await locator.waitFor();
  const end = Date.now() + SOON;
  for (;;) {
    const found = await locator.evaluate(async (one) => {
      await new Promise(requestAnimationFrame);
      const { top, bottom } = one.getBoundingClientRect();
      return { top, bottom, above: document.querySelector(".always").getBoundingClientRect().bottom };
    });
    if (fits(found)) return;
    assert.ok(Date.now() < end, `still at ${JSON.stringify(found)} of ${JSON.stringify(locator.page().viewportSize())}`);
  }
}

/** A figure of a `dl` by its term, as a number. */
export async function figure(list, term) {
  const text = await list.locator("div", { has: list.page().getByText(term, { exact: true }) }).locator("dd").innerText();
  return Number(text.replace(/[^0-9.]/g, ""));
}

/** The view from the top of the page, cut off where only more of the same follows. */
export async function picture(page, name) {
  if (!process.env.SCREENSHOTS) return;
  await mkdir(process.env.SCREENSHOTS, { recursive: true });
  const { width, height } = await page.evaluate(() => {
    scrollTo(0, 0);
    return { width: innerWidth, height: document.documentElement.scrollHeight };
  });
  const clip = { x: 0, y: 0, width, height: Math.min(height, 1400) };
  await page.screenshot({ path: join(process.env.SCREENSHOTS, `${name}.png`), fullPage: true, clip });
}

/** The system in mode `mode`, whatever it was in. */
export async function switchTo(page, mode) {
  await go(page, "traffic");
  const heading = page.getByRole("heading", { name: /^Relay mode:/ });
  if ((await heading.innerText()) === `Relay mode: ${mode}`) return;
  await page.getByRole("radio", { name: new RegExp(`^${mode}`, "i") }).check();
  const button = page.getByRole("button", { name: `Switch to ${mode}` });
  await enabled(button);
  await button.click();
  await says(heading, new RegExp(`^Relay mode: ${mode}$`), LATER);
}

/** Copies the action `name` as curl, and runs that line in a shell; its output. */
export async function onTheTerminal(page, name) {
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.getByTitle(`${name}, for the terminal`, { exact: true }).click();
  return shell(await page.evaluate(() => navigator.clipboard.readText()));
}

/** Runs a line that the page shows, which begins with curl; returns what it prints. */
export async function shell(line) {
  const { stdout } = await promisify(execFile)("sh", ["-c", `${line} --silent --show-error --fail`]);
  return stdout;
}

function fail(message) {
  throw new Error(message);
}
