// The first five minutes of a stranger: dual-write loses money and the page says so, the outbox does not.
import assert from "node:assert/strict";
import { test } from "node:test";
import { crowded, enabled, figure, go, LATER, openQuiet, picture, says } from "./lab-page.mjs";

test("dual-write with crashes loses payments, and the page says how many", async (t) => {
  const page = await openQuiet(t);
  await page.getByRole("button", { name: "Run 200 payments through dual-write" }).click();
  await says(page.getByRole("img", { name: /^Flow of payments by the pattern dual-write/ }), /commits,\s*then publishes/);
  await says(page.getByTestId("money-verdict"), /LOST/, LATER);
  const step = page.getByTestId("step-problem").filter({ visible: true });
  await step.locator(".verdict.bad").waitFor({ timeout: LATER });
  const lost = Number(/(\d+) LOST/.exec(await step.getByTestId("step-verdict").getAttribute("title"))?.[1]);
  assert.ok(lost > 0, `${lost} lost`);
  // The live audit may be a moment older than that of the verdict.
  await says(page.getByTestId("money-verdict"), new RegExp(`^\\D*${lost} payments? LOST`));
  await says(page.getByTestId("announcer"), /Verdict/);
  await go(page, "money");
  await page.locator(".finding.bad", { hasText: "LOST" }).locator(".examples a").first().waitFor();
  await picture(page, "money");
  await go(page, "flow");
  for (const width of [360, 768, 1024, 1200, 1440]) {
    await page.setViewportSize({ width, height: 900 });
    assert.equal(await step.getByTestId("step-verdict").innerText(), "money lost");
    assert.deepEqual(await crowded(page), [], `at ${width} px`);
  }
});

test("the same payments and crashes through the outbox lose nothing", async (t) => {
  const page = await openQuiet(t);
  await page.getByRole("button", { name: "Run the same through the outbox" }).click();
  await says(page.locator(".story .flow"), /\d\/s/);
  await says(page.getByTestId("money-verdict").filter({ visible: true }), /on the way/);
  await picture(page, "flow");
  const step = page.getByTestId("step-cure").filter({ visible: true });
  await step.locator(".verdict.good, .verdict.bad").waitFor({ timeout: LATER });
  assert.equal(await step.locator(".verdict.bad").count(), 0, await step.innerText());
  await page.locator(".money-figures").first().waitFor();
  assert.equal(await figure(page.locator(".money-figures").first(), "LOST"), 0);
  assert.equal(await figure(page.locator(".money-figures").first(), "PAID TWICE"), 0);
  await enabled(page.getByRole("button", { name: "Run 200 payments through dual-write" }));
});
