//! Bills, paid at the provider.
//!
//! Promises: a payment becomes one bill and ends once, paid or failed, with one result event; the
//! provider is asked under one idempotency key a payment; what is not known is asked again, then
//! cancelled, then left to an operator, and never refunded on a guess. Leaves to others: publishing the
//! events (the relay), and the wallet's money (wallet-api).

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

/// The name in events, logs, consumer groups and database sessions.
pub const SERVICE: &str = "bill-payer";
