//! Wallets and their payments over HTTP.
//!
//! Promises: a debit, its ledger entry and its outbox event commit together or not at all; a wallet is
//! never negative; the same idempotency key and body gives the same answer; a result from the bill's
//! provider settles or refunds a payment once. Patterns other than the outbox promise less, and say so
//! ([`patterns`]). Leaves to others: publishing the outbox's events (the relay) and paying the provider
//! (bill-payer).
//!
//! The modules, in reading order:
//!
//! | module | what happens there |
//! | --- | --- |
//! | [`http`] | the routes; `http/pay_bill.rs` is where a payment comes in |
//! | [`request`] | what a client asks for, checked |
//! | [`patterns`] | the way that a request takes; by default it goes to the queue of the next row |
//! | [`group_commit`] | requests that wait together are written together |
//! | `payments` | **begin here**: the hot transaction, statement by statement |
//! | [`domain`] | its decisions: funds, currency, keys; pure code |
//! | `ledger` | its transfers and balances |
//! | `pay_error` | what can go wrong, and what follows from that |
//! | [`settlement`] | the end of a payment: results settle or refund it |
//!
//! Around them: making and topping up wallets (`wallets`), what the API shows ([`reads`]), repairs after a loss
//! ([`recovery`]), dead letters ([`dead_letters`]), and the two patterns that do without the outbox (`patterns/`).

pub mod config;
pub mod dead_letters;
pub mod domain;
pub mod group_commit;
pub mod http;
mod ledger;
pub mod pattern;
pub mod patterns;
mod pay_error;
mod payments;
pub mod reads;
pub mod recovery;
pub mod request;
mod schema;
pub mod settlement;
mod wallets;

use diesel_migrations::{EmbeddedMigrations, embed_migrations};

/// The wallet database's own migrations; [`outbox::MIGRATIONS`] and [`operations::MIGRATIONS`] go first.
pub const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../migrations/wallet");

/// What the metrics of this service mean.
pub const METRICS: &[chassis::metrics::Help] = &[
    (
        "bill_results_total",
        "Results of bills that were read, by what came of them",
    ),
    (
        "payment_batch_requests",
        "Requests to pay that were written in one transaction",
    ),
    (
        "payment_commands_total",
        "Commands to debit a wallet, in the pattern listen-to-yourself, by what came of them",
    ),
    (
        "payment_commands_waiting",
        "Commands that nobody carries out, because the pattern is another one now",
    ),
    (
        "payment_requests_total",
        "Requests to pay, by pattern and by what came of them",
    ),
    (
        "wallet_publishes_total",
        "Messages that requests published by themselves, by topic and by what came of them",
    ),
];

/// Who may do what in the wallet database; run after the migrations.
pub const ROLES: &str = include_str!("../../migrations/roles-wallet.sql");

/// The name in events, logs, consumer groups and database sessions.
pub const SERVICE: &str = "wallet-api";
