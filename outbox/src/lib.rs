#![doc = include_str!("../README.md")]
#![warn(missing_docs, clippy::missing_errors_doc)]

mod append;
pub mod drain;
mod event;
pub mod inbox;
pub mod schema;
mod statement;

pub use append::{AppendError, NewEvent, append};
pub use event::Event;
pub use statement::{Statement, statement};

/// Creates the tables of outbox and inbox; to be run before a service's own migrations.
pub const MIGRATIONS: diesel_migrations::EmbeddedMigrations =
    diesel_migrations::embed_migrations!("migrations");
