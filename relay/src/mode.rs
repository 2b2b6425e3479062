//! The ways to relay, and what each of them is to the driver.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use diesel_async::AsyncPgConnection;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::progress::{BatchStats, Health};
use crate::session::SessionError;

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

/// A mode at work: it has a connection that holds the mode's locks. [`crate::driver`] does the rest.
pub trait Mode: Sized {
    /// Which one.
    const MODE: RelayMode;

    /// What outlives the connection to the database: a client of Kafka or of Kafka Connect.
    type Client;

    /// Why the connection is not to be used further.
    type Error: Error + From<SessionError> + Send + Sync + 'static;

    /// Prepares the mode on `conn`; `previous` is the error that ended it the last time. May be dropped half-way.
    fn start(
        conn: AsyncPgConnection,
        config: &Config,
        client: &mut Self::Client,
        previous: Option<&Self::Error>,
    ) -> impl Future<Output = Result<Self, Self::Error>> + Send;

    /// Does one bounded piece of work. After an error nothing is in flight.
    ///
    /// Not to be dropped half-way: events would still be in flight.
    fn run_once(
        &mut self,
        client: &mut Self::Client,
        stop: &CancellationToken,
    ) -> impl Future<Output = Result<BatchStats, Self::Error>> + Send;

    /// What a run with these `stats` says about the mode.
    fn health(&self, stats: BatchStats) -> Health {
        stats.health()
    }

    /// How long to wait before the next run; the last `idle_runs` found nothing.
    fn wait(&self, idle_runs: u32) -> Duration;

    /// Whether the error says that the database or Kafka Connect can't be reached.
    fn is_away(error: &Self::Error) -> bool;

    /// Stops; the connection still holds the mode's locks.
    fn into_connection(self) -> AsyncPgConnection;
}
