//! The outbox pattern's write side, for any domain: append events in the transaction that causes them,
//! and take events once in the transaction of their effect.
//!
//! Promises: [`append`] refuses a connection outside a transaction, so an event commits with its cause or
//! not at all; [`inbox::take`] answers [`inbox::Seen::First`] for an event id once, if its transaction
//! commits. Leaves to others: publishing (the relay), and what the events mean.
//!
//! ```no_run
//! # async fn example(conn: &mut diesel_async::AsyncPgConnection) -> Result<(), Box<dyn std::error::Error>> {
//! use diesel_async::AsyncConnection;
//! use outbox::{NewEvent, append};
//!
//! conn.transaction(async |conn| {
//!     // ... lock the aggregate, change it ...
//!     let event = NewEvent {
//!         id: uuid::Uuid::now_v7(),
//!         aggregate_type: "wallet",
//!         aggregate_id: "018f0000-0000-7000-8000-000000000000".to_owned(),
//!         event_type: "BillPaymentRequested",
//!         source: "wallet-api",
//!         traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
//!         payload: serde_json::json!({ "amount": "100.00" }),
//!     };
//!     append(conn, vec![event]).await
//! })
//! .await?;
//! # Ok(())
//! # }
//! ```

#![warn(missing_docs, clippy::missing_errors_doc)]

mod append;
pub mod inbox;
pub mod schema;
mod statement;

pub use append::{AppendError, NewEvent, append};
pub use statement::{Statement, statement};

/// Creates the tables of outbox and inbox; to be run before a service's own migrations.
pub const MIGRATIONS: diesel_migrations::EmbeddedMigrations =
    diesel_migrations::embed_migrations!("migrations");
