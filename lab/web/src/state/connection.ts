// Feeds the store from the event stream: at most one update a frame, and a new connection whenever the old one is lost.
import type { Live } from "../contract";
import { announceChanges } from "./announce";
import { keepGuided } from "./guide";
import { withSnapshot } from "./history";
import { connected, history, live } from "./store";

/** The server sends every 250 ms: this long without a word means that it is gone, even if the socket is not. */
const SILENCE_MS = 3000;
const RETRY_MS = 1000;

let newest: Live | null = null;
let frame = 0;
let watchdog = 0;

export function connect(): void {
  const source = new EventSource("/api/live");
  const lost = () => {
    connected.value = false;
    source.close();
    window.clearTimeout(watchdog);
    watchdog = window.setTimeout(connect, RETRY_MS);
  };
  const heard = () => {
    window.clearTimeout(watchdog);
    watchdog = window.setTimeout(lost, SILENCE_MS);
  };
  source.addEventListener("live", (event: MessageEvent<string>) => {
    heard();
    take(JSON.parse(event.data) as Live);
  });
  source.onerror = lost;
  heard();
}

/** The history takes every snapshot, also in a hidden tab, where there are no frames. */
function take(snapshot: Live): void {
  connected.value = true;
  history.value = withSnapshot(history.peek(), snapshot);
  newest = snapshot;
  if (frame === 0) frame = requestAnimationFrame(show);
}

function show(): void {
  frame = 0;
  if (newest === null) return;
  announceChanges(live.peek(), newest);
  keepGuided(newest.run);
  live.value = newest;
}
