// What the flow diagram says about a snapshot: the words in each box, its health, the rate on each arrow. Pure.
import type { Live, Part } from "../contract";
import { count, duration, percent, rate, short, UNKNOWN } from "../format";
import type { ArrowId, NodeId } from "./layout";

/** off: not used by the present traffic. */
export type Health = "up" | "partly" | "waiting" | "down" | "off";

export interface FlowNode {
  /** Where it lives. */
  kicker: string;
  title: string;
  lines: string[];
  health: Health;
  /** The state in a word, when it is not simply up. */
  word: string;
  /** Rows or messages waiting in it; the box shows a gauge for them. */
  waiting: number | null;
}

export interface FlowModel {
  nodes: Record<NodeId, FlowNode>;
  rates: Record<ArrowId, number | null>;
  /** The label of the way past the outbox; null while the outbox is in use. */
  bypass: string | null;
  summary: string;
}

export function flowModel(live: Live): FlowModel {
  const { flow, parts, run } = live;
  const active = run?.state === "running" || run?.state === "settling";
  const pattern = active ? run.pattern : "outbox";
  const bypassed = pattern !== "outbox";
  const rates: FlowModel["rates"] = {
    requests: flow.requests,
    committed: flow.committed,
    read: flow.published,
    published: flow.published,
    consumed: flow.consumed,
    provider_calls: flow.provider_calls,
    results: flow.bills_ended ?? flow.results_published,
    results_read: flow.results_published,
    results_published: flow.results_published,
    settled: flow.settled,
  };
  const nodes: FlowModel["nodes"] = {
    client: node("you", "client", [active ? (run.state === "running" ? "sending" : "has sent all") : "idle"], UP),
    "wallet-api": node("service", "wallet-api", ["debits the", "wallet"], healthOf(parts, "wallet-api")),
    outbox: waitingRows("outbox", flow.outbox_wallet, flow.oldest_wallet_ms, healthOf(parts, "postgres")),
    relay: node(live.relay_mode, "relay", [upCount(parts, "relay-wallet")], relayHealth(live)),
    "wallet-events": topic("wallet.events", flow.lag_wallet_events, healthOf(parts, "kafka")),
    "bill-payer": node("service", "bill-payer", [`${short(flow.bills_open)} open`, `${short(flow.bills_parked)} parked`], healthOf(parts, "bill-payer")),
    provider: node("outside", "provider", [behaviourText(live)], healthOf(parts, "mock-provider")),
    "bill-outbox": waitingRows("outbox", flow.outbox_bill, flow.oldest_bill_ms, healthOf(parts, "postgres")),
    "relay-bill": node(live.relay_mode, "relay", [upCount(parts, "relay-bill")], healthOf(parts, "relay-bill")),
    "bill-events": topic("bill.events", flow.lag_bill_events, healthOf(parts, "kafka")),
  };
  if (bypassed) {
    for (const id of ["outbox", "relay"] as const) {
      if (nodes[id].health === "up") nodes[id] = { ...nodes[id], health: "off", lines: ["not used", "by this run"] };
    }
    rates.committed = null;
    rates.read = null;
  }
  return { nodes, rates, bypass: bypassLabel(pattern, rates.published), summary: summary(live, nodes) };
}

interface State {
  health: Health;
  word: string;
}

const UP: State = { health: "up", word: "" };

function node(kicker: string, title: string, lines: string[], state: State): FlowNode {
  return { kicker, title, lines, waiting: null, ...state };
}

function waitingRows(title: string, rows: number | null, oldest: number | null, state: State): FlowNode {
  const lines = [`${short(rows)} waiting`, rows === null || rows === 0 ? "" : duration(oldest)];
  return { ...node("PostgreSQL", title, lines, state), waiting: rows };
}

function topic(title: string, lag: number | null, state: State): FlowNode {
  return { ...node("Kafka", title, [`lag ${short(lag)}`], state), waiting: lag };
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
  return faults > 0 ? `${percent(Math.min(1, faults))} faults` : "behaves";
}

function bypassLabel(pattern: string, published: number | null): string | null {
  if (pattern === "dual-write") return `commits, then publishes itself: ${rate(published)}`;
  if (pattern === "listen-to-yourself") return `publishes first, debits on hearing it: ${rate(published)}`;
  return null;
}

function summary({ flow }: Live, nodes: FlowModel["nodes"]): string {
  const troubled = Object.values(nodes).filter((one) => one.word !== "").map((one) => `${one.kicker} ${one.title} ${one.word}`);
  const state = troubled.length === 0 ? "All parts are up." : `Not up: ${troubled.join(", ")}.`;
  return `Flow of payments, from the client through outbox, relay and Kafka to the provider and back. ${state} ${count(flow.requests)} requests a second, ${count(flow.outbox_wallet)} rows in the outbox.`;
}
