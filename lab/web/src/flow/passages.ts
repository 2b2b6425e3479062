// What each figure of the flow counts, in words: beside its arrow, and in the table.
import type { Passage } from "../contract";

export const COUNTS: Record<Passage, string> = {
  requests: "requests to pay, answered by wallet-api",
  committed: "payments debited and committed by wallet-api",
  queued: "payments whose event is a row of the outbox, written by the same transaction",
  relayed: "events of the wallet's outbox, published by its relays",
  published_itself: "events published by wallet-api itself, without an outbox",
  commands: "commands published by wallet-api to itself",
  commands_taken: "commands that wallet-api has taken",
  consumed: "events that bill-payer has taken",
  provider_calls: "calls to the provider, also those that are repeated",
  bills_ended: "bills that ended, paid or failed, with their result in bill-payer's outbox",
  results_published: "results of bill-payer's outbox, published by its relay",
  settled: "results that wallet-api has taken, to settle or to refund",
};

export const PASSAGES = Object.keys(COUNTS) as Passage[];
