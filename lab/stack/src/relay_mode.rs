//! How the relays of the running system read the outbox.

use serde::{Deserialize, Serialize};

/// A relay's mode: its own `--help` says more.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize, strum::Display,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum RelayMode {
    /// Asks the table again and again
    Poller,
    /// Follows PostgreSQL's write-ahead log
    Cdc,
    /// Leaves that to Kafka Connect, which is started then
    Debezium,
}
