// Figures and times as people read them. Pure. An unknown value is an en dash.

export const UNKNOWN = "–";

const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** 1234567 -> "1,234,567" */
export function count(value: number | null): string {
  return value === null ? UNKNOWN : grouped.format(value);
}

/** For places with room for five characters: 940, "1.2k", "56k", "1.3M". */
export function short(value: number | null): string {
  if (value === null) return UNKNOWN;
  if (value < 10 && !Number.isInteger(value)) return value.toFixed(1);
  if (value < 1_000) return String(Math.round(value));
  if (value < 9_950) return `${(value / 1_000).toFixed(1)}k`;
  if (value < 999_500) return `${Math.round(value / 1_000)}k`;
  return `${(value / 1_000_000).toFixed(1)}M`;
}

/** A rate per second: "120/s". */
export function rate(value: number | null): string {
  return value === null ? UNKNOWN : `${short(value)}/s`;
}

/** Milliseconds as "0.8 ms", "12 ms", "3.4 s", "2 min 5 s". */
export function duration(ms: number | null): string {
  if (ms === null) return UNKNOWN;
  if (ms === 0) return "0 ms";
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 59_950) return `${(ms / 1_000).toFixed(1)} s`;
  const s = Math.round(ms / 1_000);
  return s < 3_600 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${Math.floor(s / 3_600)} h ${Math.floor((s % 3_600) / 60)} min`;
}

/** "38 MB"; powers of ten, as the measured results have them. */
export function bytes(value: number | null): string {
  if (value === null) return UNKNOWN;
  if (value === 0) return "0 MB";
  const mb = value / 1_000_000;
  return mb < 10 ? `${mb.toFixed(1)} MB` : `${grouped.format(mb)} MB`;
}

/** A share from 0 to 1 as "5 %". */
export function percent(share: number): string {
  return `${Math.round(share * 1000) / 10} %`;
}

/** Unix milliseconds as "14:03:22". */
export function clock(at: number): string {
  return new Date(at).toLocaleTimeString("en-GB");
}

/** Unix milliseconds as "14:03:22.041": steps of a trace are milliseconds apart. */
export function clockMs(at: number): string {
  return `${clock(at)}.${String(((at % 1000) + 1000) % 1000 | 0).padStart(3, "0")}`;
}

/** "1 payment", "2 payments" */
export function plural(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}

/** A UUID as its two ends: the whole of it does not fit into a table. */
export function shortId(id: string): string {
  return id.length > 20 ? `${id.slice(0, 8)}…${id.slice(-6)}` : id;
}
