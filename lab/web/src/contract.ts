// What the lab's server sends and takes. Times are Unix milliseconds, `*_ms` are milliseconds, ids and amounts are strings.

export type RelayMode = "poller" | "cdc" | "debezium";
export type Pattern = "outbox" | "listen-to-yourself" | "dual-write" | "publish-first";
export type PartState = "starting" | "ready" | "restarting" | "stopping" | "stopped" | "paused" | "not ours";
export type PartAction = "kill" | "pause" | "resume" | "restart" | "stop" | "start";

/** A complete snapshot, four times a second. */
export interface Live {
  at: number;
  ready: boolean;
  relay_mode: RelayMode;
  wallet_api_admin: string | null;
  switching_to: string | null;
  /** The command that is being carried out, in words. */
  busy: string | null;
  parts: Part[];
  flow: Flow;
  statistics: Statistics;
  /** One payment is shown in slow motion, and processes stand still for it. */
  slow_motion: boolean;
  /** The provider's; null while it is down. */
  behaviour: Behaviour | null;
  run: Run | null;
  /** Those that were caused, each as it was the last time. */
  accidents: Accident[];
  money: Money | null;
  comparison: Comparison | null;
}

export interface Part {
  name: string;
  kind: "service" | "server";
  state: PartState;
  detail: string;
  address: string;
  pid: number | null;
  restarts: number;
  memory_bytes: number | null;
  actions: PartAction[];
}

/** What passes between the parts; flow/passages.ts says what each counts. */
export type Passage =
  | "requests" | "committed" | "queued" | "relayed" | "published_itself" | "commands" | "commands_taken" | "consumed"
  | "provider_calls" | "bills_ended" | "results_published" | "settled";

/** Rates are per second, over the last second. Null where the part that would say so is down. */
export interface Flow {
  requests: number | null;
  committed: number | null;
  queued: number | null;
  relayed: number | null;
  published_itself: number | null;
  /** relayed and published_itself */
  published: number | null;
  commands: number | null;
  commands_taken: number | null;
  consumed: number | null;
  provider_calls: number | null;
  bills_ended: number | null;
  results_published: number | null;
  settled: number | null;
  outbox_wallet: number | null;
  outbox_bill: number | null;
  oldest_wallet_ms: number | null;
  oldest_bill_ms: number | null;
  lag_wallet_events: number | null;
  lag_bill_events: number | null;
  lag_commands: number | null;
  duplicates: number | null;
  bills_open: number | null;
  bills_parked: number | null;
  dead_letters: number | null;
}

/** Since the last reset. */
export interface Statistics {
  passed: Record<Passage, number>;
  requests: number;
  writes_ok: number;
  writes_failed: number;
  outbox_queued: number;
  publishes_ok: number;
  publishes_failed: number;
  pending: number;
  consumed: number;
  inconsistent_runs: number;
}

/** Each a share from 0 to 1. */
export interface Behaviour {
  timeout_share: number;
  server_error_share: number;
  decline_share: number;
}

export interface Run {
  id: string;
  state: "running" | "settling" | "finished" | "stopped";
  pattern: Pattern;
  relay_mode: string;
  sent: number;
  requests: number;
  accepted: number;
  declined: number;
  failed: number;
  crashes: number;
  p50_ms: number | null;
  p99_ms: number | null;
  /** One sentence, when the run has ended and the audit was made. */
  verdict: string | null;
  outcome: Outcome | null;
}

export type AccidentName = "kill-wallet-api" | "kill-relay" | "kafka-away" | "drop-slot";

export interface Accident {
  name: AccidentName;
  /** What goes on; null when it has ended. */
  doing: string | null;
  verdict: string | null;
  outcome: Outcome | null;
}

export interface Money {
  at: number;
  /** Which payments it is about: those accepted since then. */
  since: number;
  /** Whether a run of traffic began then. */
  of_run: boolean;
  /** Nothing is in flight any more. */
  complete: boolean;
  accepted: number;
  in_flight: number;
  in_flight_where: { where: string; count: number }[];
  paid: number;
  refunded: number;
  declined: number;
  findings: Finding[];
  /** The server whose absence keeps the money from being counted, such as Kafka; the figures are then those of `at`. */
  away: string | null;
  /** Why the last audit could not be made, in a program's words; the figures are then those of `at`. */
  error: string | null;
  took_ms: number;
}

/** How money came out: as it should, wrong without a loss, or with a loss. */
export type Outcome = "right" | "wrong" | "money_lost";

export interface Finding {
  kind: string;
  /** What it comes to, if there is any. */
  outcome: Outcome;
  count: number;
  examples: string[];
  /** As far as it is known. */
  by_pattern: { pattern: string; count: number }[];
}

export interface Comparison {
  state: "running" | "finished" | "stopped";
  current: string | null;
  done: number;
  total: number;
  rows: ComparisonRow[];
}

export interface ComparisonRow {
  arm: string;
  state: "waiting" | "running" | "done" | "failed";
  error: string | null;
  accepted: number;
  paid: number;
  refunded: number;
  lost: number;
  paid_twice: number;
  duplicates: number;
  p50_ms: number | null;
  p90_ms: number | null;
  p99_ms: number | null;
  paid_p50_ms: number | null;
  paid_p99_ms: number | null;
  memory_bytes: number | null;
  took_ms: number | null;
}

export interface TrafficRequest {
  pattern: Pattern;
  relay_mode: RelayMode;
  requests: number;
  rate_per_s: number;
  wallets: number;
  amount: string;
  crash_share: number;
  provider_fault_share: number;
  seed: number;
}

export interface CompareRequest {
  requests: number;
  rate_per_s: number;
  wallets: number;
  crash_share: number;
  provider_fault_share: number;
  seed: number;
  arms: string[];
}

export interface TableInfo {
  name: string;
  title: string;
  about: string;
}

export type Cell = string | number | boolean | object | null;

export interface Column {
  name: string;
  kind: "id" | "text" | "amount" | "number" | "time" | "json";
}

export interface TablePage {
  columns: Column[];
  rows: Cell[][];
  next_before: string | null;
}

export interface Trace {
  payment_id: string;
  status: string | null;
  pattern: string | null;
  steps: { at: number | null; where: string; what: string; detail: object }[];
}

export type SlowStep =
  | "begin" | "first_write" | "rest" | "debit" | "relay" | "pay" | "record" | "report" | "settle" | "restart" | "again" | "audit";

/** Where a payment in slow motion is, with what is really there: read from PostgreSQL, Kafka and the provider after each step. */
export interface SlowMotion {
  id: string;
  pattern: Pattern;
  wallet_id: string;
  step: SlowStep;
  next: SlowStep | null;
  steps_left: number;
  /** Whom a crash here kills; empty if it kills nobody. */
  victims: string[];
  /** The step that a crash has prevented, and who died. */
  crashed: SlowStep | null;
  killed: string[];
  /** The client waits for its response. */
  waiting: boolean;
  /** `status` is null when the connection broke. */
  response: { status: number | null; body: { status?: string } | null; replayed: boolean } | null;
  facts: SlowFacts;
  /** Lines about this payment in the logs of all services, after a crash. */
  log_lines: string[] | null;
  /** Titles of the audit's findings about this payment, and how the wallet says that it ended. */
  verdict: { findings: string[]; outcome: Outcome; status: string | null } | null;
}

export interface SlowFacts {
  payment_id: string | null;
  wallet: { id: string; balance: string; currency: string };
  payment: { payment_id: string; amount: string; currency: string; status: string; receipt: string | null } | null;
  outbox: OutboxRow[];
  dead_letters: { id: number; status: string; topic: string; reason: string }[];
  commands: KafkaRecord[];
  events: KafkaRecord[];
  results: KafkaRecord[];
  bill: { payment_id: string; amount: string; currency: string; status: string; attempts: number; receipt: string | null } | null;
  bill_outbox: OutboxRow[];
  receipt: { reference: string; status: string; amount: string; currency: string; receipt: string | null; calls: number } | null;
}

export interface OutboxRow {
  seq: number;
  id: string;
  type: string;
}

export interface KafkaRecord {
  partition: number;
  offset: number;
  type: string | null;
  payment_id: string | null;
}
