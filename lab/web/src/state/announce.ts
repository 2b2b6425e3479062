// What is said to a screen reader: changes of state and verdicts, not every tick.
import { signal } from "@preact/signals";
import type { Live, Part } from "../contract";

export const announcement = signal("");

export function announceChanges(before: Live | null, now: Live): void {
  const said = changes(before, now);
  if (said.length > 0) announcement.value = said.join(" ");
}

/** The sentences that tell what is new, most important first. Pure. */
export function changes(before: Live | null, now: Live): string[] {
  if (before === null) return [];
  const said: string[] = [];
  if (now.run?.verdict && now.run.verdict !== before.run?.verdict) said.push(`Verdict: ${now.run.verdict}`);
  if (newLoss(before, now)) said.push("Money has been lost.");
  if (now.comparison?.state === "finished" && before.comparison?.state === "running") said.push("The comparison is finished.");
  if (now.ready && !before.ready) said.push("The system is ready.");
  if (now.relay_mode !== before.relay_mode) said.push(`The relays are now in mode ${now.relay_mode}.`);
  if (now.switching_to !== before.switching_to && now.switching_to) said.push(`Switching the relays to ${now.switching_to}.`);
  for (const part of now.parts) {
    const old = before.parts.find((one) => one.name === part.name);
    if (old && old.state !== part.state && worthSaying(part)) said.push(`${part.name} is ${part.state}.`);
  }
  return said;
}

function newLoss(before: Live, now: Live): boolean {
  return lost(now) > 0 && lost(before) === 0;
}

function lost(live: Live): number {
  return live.money?.findings.find((finding) => finding.kind === "LOST")?.count ?? 0;
}

/** Between "restarting" and "ready" lie states that pass too quickly to be of use to a listener. */
function worthSaying(part: Part): boolean {
  return part.state !== "starting" && part.state !== "stopping";
}
