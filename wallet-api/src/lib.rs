//! Wallets and their payments over HTTP.
//!
//! Promises: a debit, its ledger entry and its outbox event commit together or not at all; a wallet is
//! never negative; the same idempotency key and body gives the same answer; a result of the bill's
//! provider settles or refunds a payment once. Other patterns than the outbox promise less, and say so
//! ([`patterns`]). Leaves to others: publishing the outbox's events (the relay) and paying the provider
//! (bill-payer).

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
mod schema;
pub mod settlement;
mod wallets;

use diesel_migrations::{EmbeddedMigrations, embed_migrations};

/// The wallet database's own migrations; [`outbox::MIGRATIONS`] and [`operations::MIGRATIONS`] go first.
pub const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../migrations/wallet");

/// The name in events, logs, consumer groups and database sessions.
pub const SERVICE: &str = "wallet-api";
