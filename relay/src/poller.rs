//! The poller: reads the rows of its shards, publishes them, deletes what was acknowledged.
//!
//! | step | what | lock | why here |
//! | --- | --- | --- | --- |
//! | 1 | `select` the first rows of each held shard, in `seq` order, but for those of keys that are parked or blocked for a while | shards, by the session | no cursor: a smaller `seq` may commit later |
//! | 2 | publish, await every report | shards; no transaction is open | Kafka may take its time |
//! | 3 | `delete` what was acknowledged | the rows | a crash before it publishes again, with the same ids |
//! | 4 | park what was refused for good | the key's row in `parked_events` | step 1 leaves the key out from now on; a crash before it tries once more |
//!
//! One connection does the locks, the reads and the deletes: when it is lost, so are the shards, and
//! nothing continues with shards that may be another relay's by now.

pub mod shards;

use std::time::{Duration, Instant};

use chassis::Backoff;
use diesel_async::AsyncPgConnection;
use outbox::Event;
use outbox::drain;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::config::{Config, PollerConfig};
use crate::mode::Mode;
use crate::parked;
use crate::progress::BatchStats;
use crate::publisher::{self, ByOutcome, Publisher};
use crate::relay_mode::RelayMode;
use crate::session::{self, SessionError, with_timeout};
use crate::waiting::WaitingKeys;

/// The first wait when there is nothing to do; doubles up to the configured maximum.
const IDLE_WAIT_FIRST: Duration = Duration::from_millis(1);

/// A connection and the shards it holds.
pub struct Poller {
    conn: AsyncPgConnection,
    session: i32,
    shards: Vec<i32>,
    rebalanced: Option<Instant>,
    waiting: WaitingKeys,
    epoch: String,
    config: PollerConfig,
}

impl Mode for Poller {
    const MODE: RelayMode = RelayMode::Poller;
    type Client = Publisher;
    type Error = SessionError;

    async fn start(
        mut conn: AsyncPgConnection,
        config: &Config,
        _: &mut Publisher,
        _: Option<&SessionError>,
    ) -> Result<Self, SessionError> {
        let session = shards::session(&mut conn);
        let session = with_timeout("asking for the session's number", session).await?;
        let epoch = with_timeout("asking for the epoch", session::epoch(&mut conn)).await?;
        info!(session, epoch, "mode {} begins", Self::MODE);
        Ok(Self {
            conn,
            session,
            shards: Vec::new(),
            rebalanced: None,
            waiting: WaitingKeys::default(),
            epoch,
            config: config.poller.clone(),
        })
    }

    /// Publishes the next events of the held shards, at most `rows_per_shard_max` each, and deletes
    /// them, or parks those that are refused; before that, if it is time, looks at who else is relaying and
    /// at what is parked.
    async fn run_once(
        &mut self,
        publisher: &mut Publisher,
        stop: &CancellationToken,
    ) -> Result<BatchStats, SessionError> {
        self.rebalance().await?;
        let now = Instant::now();
        let events = self.read(now).await?;
        let outcomes = publisher.publish(&self.epoch, &events, stop).await;
        let sorted = ByOutcome::new(&events, outcomes);
        let seqs = sorted.seqs();
        let deleted = drain::delete(&mut self.conn, &seqs);
        let deleted = with_timeout("deleting what was published", deleted).await?;
        publisher.forget(&sorted.published);
        let parked = parked::park(&mut self.conn, &sorted.refused);
        let parked = with_timeout("parking what is refused", parked).await?;
        let again = self.waiting.remember(&sorted, &parked);
        self.waiting.forget_due(now);
        let run = BatchStats {
            read: events.len(),
            published: sorted.published.len(),
            refused: sorted.refused.len(),
            parked: parked.len(),
            deleted,
            again,
        };
        run.count();
        Ok(run)
    }

    fn wait(&self, idle_runs: u32) -> Duration {
        if idle_runs == 0 {
            return Duration::ZERO;
        }
        let (first, max) = (IDLE_WAIT_FIRST, self.config.idle_wait_max());
        Backoff { first, max }.ceiling(idle_runs)
    }

    fn is_away(error: &SessionError) -> bool {
        error.is_away()
    }

    fn into_connection(self) -> AsyncPgConnection {
        self.conn
    }
}

impl Poller {
    /// Takes or releases shards for a fair share, and tidies parked events, if it is time.
    async fn rebalance(&mut self) -> Result<(), SessionError> {
        let every = self.config.rebalance_every();
        if self.rebalanced.is_some_and(|last| last.elapsed() < every) {
            return Ok(());
        }
        with_timeout("tidying parked events", parked::tidy(&mut self.conn)).await?;
        let rebalanced = shards::rebalance(&mut self.conn, self.session);
        let shards = with_timeout("sharing the shards", rebalanced).await?;
        if shards.len() != self.shards.len() {
            info!(
                shards = shards.len(),
                before = self.shards.len(),
                "shards held"
            );
        }
        let held = u32::try_from(shards.len()).unwrap_or(u32::MAX);
        metrics::gauge!("relay_shards_held").set(f64::from(held));
        self.shards = shards;
        self.rebalanced = Some(Instant::now());
        Ok(())
    }

    /// The next events of each held shard, in `seq` order, but for those of keys that are parked or blocked.
    async fn read(&mut self, now: Instant) -> Result<Vec<Event>, SessionError> {
        if self.shards.is_empty() {
            return Ok(Vec::new());
        }
        let skipped = self.waiting.blocked(now);
        let rows_max = i64::from(self.config.rows_per_shard_max);
        let page = drain::next_of_shards(
            &mut self.conn,
            &self.shards,
            &skipped,
            rows_max,
            publisher::BYTES_MAX,
        );
        let page = with_timeout("reading the outbox", page).await?;
        if page.is_cut_off {
            // The shards that were left out come first the next time.
            self.shards.rotate_left(1);
        }
        Ok(page.events)
    }
}
