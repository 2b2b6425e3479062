//! How the relays of the running system read the outbox.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A relay's mode: its own `--help` says more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RelayMode {
    /// Asks the table again and again
    Poller,
    /// Follows PostgreSQL's write-ahead log
    Cdc,
    /// Leaves that to Kafka Connect, which is started then
    Debezium,
}

impl fmt::Display for RelayMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Poller => "poller",
            Self::Cdc => "cdc",
            Self::Debezium => "debezium",
        })
    }
}
