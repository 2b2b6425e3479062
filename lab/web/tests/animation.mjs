// README's animation, filmed from the page of a running lab: losses in dual-write, none in the outbox, none when the relays are killed.
//
// ANIMATION  the WebP file to write (needed); lab-page.mjs has the others
import assert from "node:assert/strict";
import { stat } from "node:fs/promises";
import { test } from "node:test";
import webp from "node-webpmux";
import { enabled, LATER, openQuiet, says, switchTo } from "./lab-page.mjs";

const BYTES_MAX = 2_000_000;
/** How long a frame is seen, ms: of the caption that begins a scene, of what happens, and of the verdict that ends it. */
const SEEN = { caption: 2500, event: 260, verdict: 3500 };
const SCENE_FRAMES_MAX = 40;
/** Of each picture, px; the page itself is larger. */
const SIZE = { width: 900, height: 310 };

test("the animation is filmed", async (t) => {
  const page = await openQuiet(t, { hash: "traffic", width: 1200 });
  await switchTo(page, "poller");
  await page.emulateMedia({ reducedMotion: "reduce" });
  await page.evaluate(() => {
    const caption = document.body.appendChild(Object.assign(document.createElement("p"), { id: "caption" }));
    Object.assign(caption.style, { position: "fixed", zIndex: 99, font: "650 1.45rem/1.2 system-ui" });
  });
  const film = await Film.of(page);
  const step = (name) => page.getByTestId(`step-${name}`).filter({ visible: true });

  await page.evaluate(() => (location.hash = ""));
  await film.scene({
    caption: "1. Dual-write: commit, then publish. One request in 20 crashes between the two.",
    press: page.getByRole("button", { name: "Run 200 payments through dual-write" }),
    until: step("problem").locator(".verdict.bad"),
  });
  await film.scene({
    caption: "2. Outbox: the event is in the transaction. The same payments, the same crashes.",
    press: page.getByRole("button", { name: "Run the same through the outbox" }),
    until: step("cure").locator(".verdict.good"),
  });
  await page.evaluate(() => (location.hash = "break"));
  await film.scene({
    caption: "3. Outbox, and both relays are killed (kill -9) while payments flow.",
    press: page.getByRole("button", { name: "Kill the relay" }),
    until: page.getByTestId("accident-kill-relay").locator(".verdict.good"),
    every: 600,
  });
  await webp.Image.save(process.env.ANIMATION, { frames: film.frames, ...SIZE, loops: 0 });
  const { size } = await stat(process.env.ANIMATION);
  assert.ok(size < BYTES_MAX, `${size} bytes`);
});

class Film {
  frames = [];
  #last;

  static async of(page) {
    const film = new Film();
    film.page = page;
    film.camera = await page.context().newCDPSession(page);
    return film;
  }

  /** Presses, and takes a picture every so many ms until the verdict is there. */
  async scene({ caption, press, until, every = 350 }) {
    await enabled(press, LATER);
    await this.page.evaluate((text) => (document.getElementById("caption").textContent = text), caption);
    await press.click();
    await says(this.page.locator('.story [data-node="client"]'), /sending/);
    await this.#take(SEEN.caption);
    const begin = this.frames.length;
    let ended = false;
    const end = until.waitFor({ timeout: LATER }).finally(() => (ended = true));
    while (!ended) {
      await Promise.race([end, new Promise((resolve) => setTimeout(resolve, every))]);
      await this.#take(SEEN.event);
    }
    await end;
    this.#thinOut(begin);
    await this.page.getByTestId("money-verdict").locator("visible=true").filter({ hasText: /LOST|payments ended/ }).waitFor({ timeout: LATER });
    await this.#take(SEEN.verdict, true);
  }

  async #take(delay, whatever = false) {
    const clip = await this.page.evaluate(() => {
      // The page knows nothing of the caption and moves under it.
      const story = document.querySelector(".story");
      story.style.paddingTop = "3.4rem";
      document.querySelector(".always nav").style.visibility = "hidden";
      story.scrollIntoView();
      const { left, top, width } = story.getBoundingClientRect();
      Object.assign(document.getElementById("caption").style, { left: `${left}px`, top: `${top}px` });
      return { x: left + scrollX, y: top + scrollY, width };
    });
    const scale = SIZE.width / clip.width;
    Object.assign(clip, { height: SIZE.height / scale, scale });
    const { data } = await this.camera.send("Page.captureScreenshot", { format: "webp", quality: 60, clip });
    if (data === this.#last && !whatever) return;
    this.#last = data;
    this.frames.push(await webp.Image.generateFrame({ buffer: Buffer.from(data, "base64"), delay }));
  }

  /** Of a long scene every second picture, as often as needed. */
  #thinOut(begin) {
    while (this.frames.length - begin > SCENE_FRAMES_MAX) {
      this.frames = this.frames.filter((_, index) => index < begin || (index - begin) % 2 === 0);
    }
  }
}
