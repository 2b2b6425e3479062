//! What a mode is to the driver.

use std::error::Error;
use std::time::Duration;

use diesel_async::AsyncPgConnection;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::progress::{BatchStats, Health};
use crate::relay_mode::RelayMode;
use crate::session::SessionError;

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
