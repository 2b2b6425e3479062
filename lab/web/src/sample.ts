// A snapshot for tests: everything up, nothing going on.
import type { Live, Money, Part, Run } from "./contract";

export function part(name: string, state: Part["state"] = "ready"): Part {
  return { name, kind: "service", state, detail: "", address: "", pid: 1, restarts: 0, memory_bytes: null, actions: ["kill"] };
}

const nothing = {
  requests: 0, committed: 0, queued: 0, relayed: 0, published_itself: 0, commands: 0, commands_taken: 0, consumed: 0,
  provider_calls: 0, bills_ended: 0, results_published: 0, settled: 0,
};

export function quietSnapshot(change: Partial<Live> = {}): Live {
  return {
    at: 1_000_000,
    ready: true,
    relay_mode: "poller",
    wallet_api_admin: "http://127.0.0.1:9080",
    switching_to: null,
    busy: null,
    parts: ["wallet-api", "relay-wallet-1", "relay-wallet-2", "bill-payer", "relay-bill", "mock-provider", "postgres", "kafka"].map((name) => part(name)),
    flow: {
      ...nothing, published: 0,
      outbox_wallet: 0, outbox_bill: 0, oldest_wallet_ms: 0, oldest_bill_ms: 0, lag_wallet_events: 0, lag_bill_events: 0, lag_commands: 0,
      duplicates: 0, bills_open: 0, bills_parked: 0, dead_letters: 0,
    },
    statistics: {
      passed: nothing, requests: 0, writes_ok: 0, writes_failed: 0, outbox_queued: 0, publishes_ok: 0, publishes_failed: 0, pending: 0, consumed: 0,
      inconsistent_runs: 0,
    },
    slow_motion: false,
    behaviour: null,
    run: null,
    accidents: [],
    money: null,
    comparison: null,
    ...change,
  };
}

export function audit(change: Partial<Money> = {}): Money {
  return {
    at: 1_000_000, since: 900_000, of_run: false, complete: true, accepted: 200, in_flight: 0, in_flight_where: [], paid: 190, refunded: 10, declined: 0,
    findings: ["LOST", "PAID TWICE"].map((kind) => ({ kind, outcome: "money_lost", count: 0, examples: [], by_pattern: [] })), away: null, error: null, took_ms: 5,
    ...change,
  };
}

export const run: Run = {
  id: "1", state: "running", pattern: "dual-write", relay_mode: "poller", sent: 1, requests: 2, accepted: 1, declined: 0, failed: 0, crashes: 0,
  p50_ms: null, p99_ms: null, verdict: null, outcome: null,
};
