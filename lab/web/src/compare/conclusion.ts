// What a comparison says, in sentences. Pure.
import type { Comparison, ComparisonRow } from "../contract";
import { count, plural } from "../format";

/** Below this, one pause of the machine moves a p99. */
const ENOUGH = 10_000;

export function conclusionOf({ rows, state }: Comparison): string | null {
  const done = rows.filter((row) => row.state === "done");
  if (state === "running" || done.length === 0) return null;
  const damaged = done.filter((row) => row.lost > 0 || row.paid_twice > 0);
  const sound = done.filter((row) => !damaged.includes(row)).map((row) => row.arm);
  const sentences = damaged.map(damage);
  if (damaged.length > 0 && sound.length > 0) sentences.push(`${list(sound)} lost nothing and paid nothing twice.`);
  if (damaged.length === 0) sentences.push(`${list(sound)} lost nothing and paid nothing twice. Only crashes between the two writes tell them apart: raise "Crashes halfway".`);
  const failed = rows.filter((row) => row.state === "failed").map((row) => row.arm);
  if (failed.length > 0) sentences.push(`${list(failed)} could not be measured.`);
  return sentences.join(" ");
}

/** Null when there are enough payments for their times to mean something. */
export function noiseOf({ rows }: Comparison): string | null {
  const fewest = Math.min(...rows.filter((row) => row.state === "done").map((row) => row.accepted));
  if (fewest >= ENOUGH) return null;
  return `The losses are facts; the times are not: with ${plural(fewest, "payment")} each, on a machine that is busy with all parts at once, differences in time are noise.`;
}

function damage({ arm, accepted, lost, paid_twice }: ComparisonRow): string {
  const harm = [lost > 0 ? `lost ${count(lost)}` : "", paid_twice > 0 ? `paid ${count(paid_twice)} twice` : ""].filter((text) => text !== "");
  return `${arm} ${harm.join(" and ")} of ${plural(accepted, "payment")}.`;
}

function list(names: string[]): string {
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names[names.length - 1]}`;
}
