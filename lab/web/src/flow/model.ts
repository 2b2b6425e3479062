// What the drawing says about a snapshot: the words in each box, its health, the figure on each arrow. Pure.
import type { Finding, Live, Money, Part, Passage, Pattern } from "../contract";
import { count, duration, percent, plural, rate, short, UNKNOWN } from "../format";
import type { ArrowId, NodeId } from "./layout";
import { COUNTS } from "./passages";

export type Health = "up" | "partly" | "waiting" | "down";

export interface FlowNode {
  title: string;
  lines: string[];
  health: Health;
  /** The state in a word, when it is not simply up. */
  word: string;
  /** Rows or messages waiting in it; the box shows a gauge for them. */
  waiting: number | null;
}

export interface FlowModel {
  pattern: Pattern;
  nodes: Record<NodeId, FlowNode>;
  /** An arrow on which nothing moves says nothing. */
  arrows: Record<ArrowId, { perSecond: number; label: string; about: string }>;
  /** What a crash between two writes does, and how often it did. */
  cut: { count: number; text: string };
  summary: string;
}

/** The passage that an arrow counts. */
export function passageOf(arrow: ArrowId): Passage {
  if (arrow === "read") return "relayed";
  return arrow === "results_read" ? "results_published" : arrow;
}

const ARROWS: ArrowId[] = [
  "requests", "committed", "read", "relayed", "published_itself", "commands", "commands_taken", "consumed", "provider_calls",
  "bills_ended", "results_read", "results_published", "settled",
];

/** In the pattern of the last run, as long as its verdict stands beside the drawing; else in that of the payment in slow motion. */
export function flowModel(live: Live, slowMotion: Pattern | null = null): FlowModel {
  const { flow, parts, run } = live;
  const pattern = run?.pattern ?? slowMotion ?? "outbox";
  const database = healthOf(parts, "postgres");
  const broker = healthOf(parts, "kafka");
  const nodes: FlowModel["nodes"] = {
    client: node("client", [run?.state === "running" ? "sending" : ""], UP),
    "wallet-api": node("wallet-api", WRITES[pattern], healthOf(parts, "wallet-api")),
    database: node("PostgreSQL", [pattern === "listen-to-yourself" ? "debit" : ""], database),
    debit: node("debit", [], UP),
    outbox: rows("event", flow.outbox_wallet, flow.oldest_wallet_ms, database),
    "wallet-commands": topic("Kafka", "wallet.commands", flow.lag_commands, broker),
    relay: node("relay", [live.relay_mode, upCount(parts, "relay-wallet")], relayHealth(live)),
    "wallet-events": topic("Kafka", "wallet.events", flow.lag_wallet_events, broker),
    "bill-payer": node("bill-payer", [some(flow.bills_open, "open"), some(flow.bills_parked, "parked")], healthOf(parts, "bill-payer")),
    provider: node("provider", [behaviourText(live)], healthOf(parts, "mock-provider")),
    "bill-outbox": rows("outbox", flow.outbox_bill, flow.oldest_bill_ms, database),
    "relay-bill": node("relay", [], healthOf(parts, "relay-bill")),
    "bill-events": topic("bill.events", "", flow.lag_bill_events, broker),
  };
  const arrows = {} as FlowModel["arrows"];
  for (const id of ARROWS) {
    const passage = passageOf(id);
    const perSecond = flow[passage] ?? 0;
    const total = live.statistics.passed[passage] ?? 0;
    arrows[id] = { perSecond, label: perSecond > 0 ? rate(perSecond) : "", about: `${COUNTS[passage]}: ${rate(perSecond)} now, ${count(total)} since “Count from now”` };
  }
  const cut = cutOf(pattern, live.money);
  return { pattern, nodes, arrows, cut, summary: summary(live, pattern, nodes, cut.text) };
}

/** What wallet-api does with a request. */
const WRITES: Record<Pattern, string[]> = {
  outbox: ["writes once, in", "a transaction"],
  "dual-write": ["commits,", "then publishes"],
  "publish-first": ["publishes,", "then commits"],
  "listen-to-yourself": ["publishes, and", "debits on", "hearing it"],
};

interface State {
  health: Health;
  word: string;
}

const UP: State = { health: "up", word: "" };

function node(title: string, lines: string[], state: State): FlowNode {
  return { title, lines, waiting: null, ...state };
}

function some(n: number | null, what: string): string {
  return n === null || n === 0 ? "" : `${short(n)} ${what}`;
}

function rows(title: string, n: number | null, oldest: number | null, state: State): FlowNode {
  const age = n === null || n === 0 ? "" : duration(oldest);
  return { ...node(title, [some(n, "waiting"), title === "outbox" ? age : ""], state), waiting: n };
}

function topic(title: string, about: string, lag: number | null, state: State): FlowNode {
  return { ...node(title, [about, some(lag, "to take")], state), waiting: lag };
}

/** Of the parts whose name begins so: all up, some up, or the state of the first that is not. */
function healthOf(parts: Part[], prefix: string): State {
  const found = parts.filter((part) => part.name.startsWith(prefix));
  const bad = found.filter((part) => part.state !== "ready" && part.state !== "not ours");
  const first = bad[0];
  if (first === undefined) return UP;
  if (bad.length < found.length) return { health: "partly", word: `1 ${first.state}` };
  const moving = first.state === "starting" || first.state === "restarting";
  return { health: moving || first.state === "paused" ? "waiting" : "down", word: first.state };
}

/** In mode debezium it is Kafka Connect that publishes. */
function relayHealth(live: Live): State {
  const own = healthOf(live.parts, "relay-wallet");
  if (own.health !== "up" || live.relay_mode !== "debezium") return own;
  const connect = healthOf(live.parts, "connect");
  return connect.health === "up" ? UP : { ...connect, word: `Connect ${connect.word}` };
}

function upCount(parts: Part[], prefix: string): string {
  const found = parts.filter((part) => part.name.startsWith(prefix));
  return `${found.filter((part) => part.state === "ready").length} of ${found.length} up`;
}

function behaviourText({ behaviour }: Live): string {
  if (behaviour === null) return UNKNOWN;
  const faults = behaviour.timeout_share + behaviour.server_error_share + behaviour.decline_share;
  return faults > 0 ? `${percent(Math.min(1, faults))} faults` : "";
}

/** What the audit calls a payment that was cut off between the two writes. */
const CUT: Partial<Record<Pattern, { kinds: string[]; text: string }>> = {
  "dual-write": { kinds: ["LOST"], text: "a crash here: debited, never paid" },
  "publish-first": { kinds: ["AT PROVIDER, NOT HERE", "NOT IN THE WALLET"], text: "a crash here: paid, never debited" },
};

function cutOf(pattern: Pattern, money: Money | null): FlowModel["cut"] {
  const cut = CUT[pattern];
  if (cut === undefined) return { count: 0, text: "" };
  const n = (money?.findings ?? []).filter(({ kind }) => cut.kinds.includes(kind)).reduce((sum, one) => sum + one.count, 0);
  return { count: n, text: n > 0 ? `${count(n)} cut off here` : cut.text };
}

/** Findings about wallets and accounts have no payment to trace. */
const ABOUT_WALLETS = new Set(["BALANCE DIFFERS", "UNBALANCED", "OUT OF ORDER", "STUCK", "DIFFERS"]);

/** The findings that mean lost money, with ids of payments as examples. */
export function lossesOf(money: Money | null): Finding[] {
  return (money?.findings ?? []).filter((finding) => finding.count > 0 && !ABOUT_WALLETS.has(finding.kind));
}

function summary({ flow }: Live, pattern: Pattern, nodes: FlowModel["nodes"], cut: string): string {
  const troubled = Object.values(nodes).filter((one) => one.word !== "").map((one) => `${one.title} ${one.lines[0] ?? ""} ${one.word}`);
  const state = troubled.length === 0 ? "All parts are up." : `Not up: ${[...new Set(troubled)].join(", ")}.`;
  const way = `Flow of payments by the pattern ${pattern}: wallet-api ${WRITES[pattern].join(" ")}; bill-payer asks the provider, and the result comes back.`;
  return `${way} ${state} ${count(flow.requests)} requests a second, ${plural(flow.outbox_wallet ?? 0, "row")} in the outbox.${cut === "" ? "" : ` Between the two writes: ${cut}.`}`;
}
