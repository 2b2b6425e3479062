//! Bills, paid at the provider.
//!
//! Promises: a payment becomes one bill and ends once, paid or failed, with one result event; the
//! provider is asked under one idempotency key a payment; an unknown result is asked for again, then
//! cancelled, then left to an operator, and never refunded on a guess. Leaves to others: publishing the
//! events (the relay), and the wallet's money (wallet-api).
//!
//! The way of a bill, in reading order; begin with [`domain`] if you want the rules first:
//!
//! | module | what it does |
//! | --- | --- |
//! | [`intake`] | turns events of `wallet.events` into bills |
//! | [`store`] | the table `bills` as a queue: insert, and claim by lease |
//! | [`executor`] | claims, calls, records, with many calls in flight |
//! | [`provider`] | makes one call over HTTP, and says what the reply means |
//! | [`domain`] | decides what becomes of a bill: pure functions |
//! | [`breaker`] | stops the calls while the provider is away: pure, too |
//! | [`record`] | writes bills, attempts and result events in one transaction |
//! | [`parked`], [`cli`], [`http`] | what operators read and do |
//! | [`gauges`], [`housekeeping`], [`config`] | the rest of a service |

pub mod breaker;
pub mod cli;
pub mod config;
pub mod domain;
pub mod executor;
pub mod gauges;
pub mod housekeeping;
pub mod http;
pub mod intake;
pub mod parked;
pub mod provider;
mod reads;
pub mod record;
mod schema;
pub mod store;

use diesel_migrations::{EmbeddedMigrations, embed_migrations};

/// The bill-payer database's own migrations; [`outbox::MIGRATIONS`] and [`operations::MIGRATIONS`] go first.
pub const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../migrations/bill-payer");

/// What the metrics of this service mean.
pub const METRICS: &[chassis::metrics::Help] = &[
    (
        "bill_requests_total",
        "Requests to pay a bill that were read, by what came of them",
    ),
    ("bills", "Bills that have not ended, by status"),
    (
        "bills_contradictions_total",
        "Bills that the provider says have ended the other way than it said before",
    ),
    (
        "bills_oldest_age_seconds",
        "Age of the oldest bill that has not ended, by status",
    ),
    (
        "bills_recorded_total",
        "Answers of the provider that changed a bill, by its new status",
    ),
    (
        "bills_stale_answers_total",
        "Answers of the provider that came too late to change a bill",
    ),
    (
        "provider_away",
        "1 while the provider counts as away and is only probed, by call",
    ),
    (
        "provider_call_duration_seconds",
        "Seconds of a call to the provider, by call",
    ),
    (
        "provider_calls_in_flight",
        "Calls to the provider that wait for an answer",
    ),
    (
        "provider_calls_total",
        "Calls to the provider, by call and by what came of them",
    ),
    (
        "provider_outages_total",
        "Times that the provider went away, by call",
    ),
    (
        "provider_slow_calls",
        "Calls that take long and have left their slots to others",
    ),
];

/// Who may do what in the bill-payer database; run after the migrations.
pub const ROLES: &str = include_str!("../../migrations/roles-bill-payer.sql");

/// The name in events, logs, consumer groups and database sessions.
pub const SERVICE: &str = "bill-payer";
