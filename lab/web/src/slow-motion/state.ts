// The payment in slow motion: each snapshot that the server has sent, and which of them is shown. Going back shows an earlier one; nothing
// is undone.
import { computed, signal } from "@preact/signals";
import { beginSlowMotion, endSlowMotion, stepSlowMotion } from "../commands";
import type { Pattern, SlowMotion } from "../contract";
import { announcement } from "../state/announce";
import { scene } from "./story";

export const chosen = signal<Pattern>("dual-write");
export const frames = signal<SlowMotion[]>([]);
export const position = signal(0);

export const shown = computed(() => frames.value[position.value] ?? null);
export const before = computed(() => frames.value[position.value - 1] ?? null);
export const isLast = computed(() => position.value === frames.value.length - 1);
/** Processes stand still for this page. */
export const isOpen = computed(() => frames.value.length > 0 && frames.value[frames.value.length - 1]?.next !== null);

export async function begin(): Promise<void> {
  frames.value = [];
  show([await beginSlowMotion(chosen.value)]);
}

export async function forward(): Promise<void> {
  const now = shown.value;
  if (!now) return;
  if (!isLast.value) return select(position.value + 1);
  if (now.next === null) return;
  const next = await stepSlowMotion(now.id, "next");
  show([...frames.value, next]);
  // Nothing stands still any more, and others may send traffic.
  if (next.next === null) await endSlowMotion(next.id);
}

export function back(): void {
  select(Math.max(0, position.value - 1));
}

export async function crash(): Promise<void> {
  const now = shown.value;
  if (now && isLast.value) show([...frames.value, await stepSlowMotion(now.id, "crash")]);
}

export async function end(): Promise<void> {
  const [first] = frames.value;
  if (first && isOpen.value) await endSlowMotion(first.id);
  frames.value = [];
}

/** A page that is closed leaves nobody paused. */
addEventListener("pagehide", () => void end());

function show(all: SlowMotion[]): void {
  frames.value = all;
  select(all.length - 1);
}

function select(index: number): void {
  position.value = index;
  const now = frames.value[index];
  if (now) announcement.value = `${scene(now).title}. ${scene(now).text}`;
}
