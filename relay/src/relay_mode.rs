//! The names of the modes.

use std::fmt;

/// How unpublished events are found. A build that lacks a mode still respects it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum RelayMode {
    /// Asks the table again and again.
    #[default]
    Poller,
    /// Follows the write-ahead log by a replication slot; needs `wal_level=logical` and a role that
    /// may replicate. Of several relays one works, the others stand by.
    Cdc,
    /// Has Kafka Connect follow the write-ahead log, with Debezium; needs what `cdc` needs. The relay
    /// registers the connector, watches it, and deletes what it has published. Of several relays one
    /// works, the others stand by.
    Debezium,
}

impl RelayMode {
    pub(crate) const ALL: [Self; 3] = [Self::Poller, Self::Cdc, Self::Debezium];

    /// Its word, as in the setting and the logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Poller => "poller",
            Self::Cdc => "cdc",
            Self::Debezium => "debezium",
        }
    }

    /// Second half of the key of the mode's lock; never to be given to another mode.
    pub(crate) const fn number(self) -> i32 {
        match self {
            Self::Poller => 1,
            Self::Cdc => 2,
            Self::Debezium => 3,
        }
    }

    /// Whether one relay works while the others stand by; otherwise they share the work.
    pub(crate) const fn has_standby(self) -> bool {
        match self {
            Self::Poller => false,
            Self::Cdc | Self::Debezium => true,
        }
    }
}

impl fmt::Display for RelayMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
