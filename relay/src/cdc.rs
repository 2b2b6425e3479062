//! Change data capture: PostgreSQL sends what is committed; it is published, deleted and then confirmed.
//!
//! The table stays the truth: whatever the stream might miss is found there by a sweep.
//!
//! | step | what | lock | why here |
//! | --- | --- | --- | --- |
//! | 1 | take the mode's lock, then the lock of the one relay that works | both, by the session | the second relay stands by, and takes over when the connection of the first ends |
//! | 2 | create or check publication and slot | | from now on the stream brings whatever commits |
//! | 3 | **sweep**: read the first rows in `seq` order and what the query sees, in one snapshot; publish, delete, and repeat until the table has no more | | takes what is older than the slot, what a crash left and what was waiting for Kafka; no transaction is open while Kafka is awaited. The sweep ends only after every transaction has ended that was running at step 2: a new slot does not bring one that was just becoming visible |
//! | 4 | open the stream; receive a batch, leaving out the transactions that the last snapshot saw | | those were the sweep's; events of blocked keys are left out too, and wait in the table |
//! | 5 | publish, await every report; receive the next batch meanwhile | no transaction is open | Kafka may take its time |
//! | 6 | `delete` what was acknowledged | the rows | a crash before it publishes again, with the same ids |
//! | 7 | a delete that finds too little: repeat it until SQL sees every transaction of the batch | | the log is ahead of what queries see for a moment; what is missing then was deleted before |
//! | 8 | park what was refused for good | the key's row in `parked_events` | its key is blocked from now on |
//! | 9 | confirm the end of the last transaction that is done as a whole | | PostgreSQL may forget it: what is not published is in the table |
//! | 10 | every 5 s: is the publication as it was, has the table old rows? | | an altered publication leaves events out of the stream, without a word |
//!
//! A key is blocked while its event is parked, and for a while after Kafka did not take its event. The relay sweeps again
//! when it is time to retry such a key, when a parked event is gone or to be replayed, and while the stream
//! still brings what was swept: new events don't wait for old ones. It also sweeps when the table has old rows,
//! and before an event that follows an alteration of the table or the publication: PostgreSQL describes the table
//! again before it, so that what the alteration has left out goes first. Why no event overtakes one of
//! its key: in a snapshot, and in the log, an event is there only if the earlier ones of its key are (the
//! writer locks the key first); a sweep publishes all it sees, and the stream continues with what the sweep did not
//! see.
//!
//! One connection does the locks and the deletes: when it is lost, nothing more is published. A stream that
//! is lost is opened again after a sweep. While Kafka is away for long the stream is closed, so that
//! PostgreSQL can be stopped.

pub mod pgoutput;
mod snapshot;
mod stream;
mod table;
mod tunnel;

use std::pin::pin;
use std::time::{Duration, Instant};

use chassis::database::Target;
use diesel_async::AsyncPgConnection;
use pgwire_replication::Lsn;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::snapshot::SweepSnapshot;
pub use self::stream::{BYTES_MAX, ROWS_MAX, StreamError};
use self::stream::{Batch, Stream};
use self::table::Table;
use crate::config::Config;
use crate::mode::Mode;
use crate::progress::{BatchStats, Health};
use crate::publisher::Publisher;
use crate::relay_mode::RelayMode;
use crate::session::{SessionError, with_timeout};
use crate::slot::{self, Slot, SlotError};

const RECEIVE_WITHIN: Duration = Duration::from_secs(1);

/// How often to sweep while the stream brings what was swept.
const CATCH_UP_EVERY: Duration = Duration::from_millis(50);

/// How often to check whether the stream leaves something out.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How often to ask PostgreSQL about a stream that is silent.
const PROBE_EVERY: Duration = Duration::from_secs(5);

/// How long the log may grow while the stream is silent: PostgreSQL reports each piece of log to the stream.
const STREAM_SILENCE_MAX: Duration = Duration::from_secs(60);

/// Why a relay can't continue with its connections.
#[expect(missing_docs, reason = "the messages say it")]
#[derive(Debug, thiserror::Error)]
pub enum CdcError {
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    Slot(#[from] SlotError),
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error(
        "the replication stream is silent although the log has grown for {STREAM_SILENCE_MAX:?}"
    )]
    Silent,
    #[error("the publication {0} was altered or dropped: it is recreated, with its slot")]
    Publication(&'static str),
}

impl CdcError {
    fn slot_is_useless(&self) -> bool {
        matches!(self, Self::Stream(error) if error.slot_is_useless())
    }
}

/// The one relay that works: its connection, its stream, and what they brought.
pub struct Cdc {
    database: Target,
    kafka_away_max: Duration,
    slot: Slot,
    table: Table,
    /// Open once a sweep is through.
    stream: Option<Stream>,
    received: Batch,
    /// None while a sweep is due or has more to do.
    swept: Option<SweepSnapshot>,
    swept_at: Instant,
    /// The stream is still busy with what was swept.
    catching_up: bool,
    looked_at: Instant,
    /// When the stream was found silent, and how far the log was then.
    silent: Option<(Instant, Lsn)>,
}

impl Mode for Cdc {
    const MODE: RelayMode = RelayMode::Cdc;
    type Client = Publisher;
    type Error = CdcError;

    /// Creates the publication and the slot if they are missing or invalid.
    async fn start(
        mut conn: AsyncPgConnection,
        config: &Config,
        _: &mut Publisher,
        previous: Option<&CdcError>,
    ) -> Result<Self, CdcError> {
        let recreate_slot = previous.is_some_and(CdcError::slot_is_useless);
        let (slot, is_there) = slot::ensure(&mut conn, slot::CDC, recreate_slot).await?;
        if !is_there {
            slot::create(&mut conn, &slot).await?;
        }
        info!(slot = slot.name, "mode {} begins", Self::MODE);
        Ok(Self {
            database: config.database.target().map_err(StreamError::from)?,
            kafka_away_max: config.cdc.kafka_away_max(),
            slot,
            table: Table::new(conn).await?,
            stream: None,
            received: Batch::default(),
            swept: None,
            swept_at: Instant::now(),
            catching_up: false,
            looked_at: Instant::now(),
            silent: None,
        })
    }

    /// A step of a sweep if one is due, else the next batch of the stream, for which it waits a second at most.
    async fn run_once(
        &mut self,
        publisher: &mut Publisher,
        stop: &CancellationToken,
    ) -> Result<BatchStats, CdcError> {
        // A sweep, if one is due.
        if self.table.is_parking_changed().await? || self.is_something_left_out().await? {
            self.swept = None;
        }
        if std::mem::take(&mut self.received.is_after_alteration) {
            self.swept = None;
        }
        if self.sweep_is_due() {
            return self.sweep_once(publisher, stop).await;
        }
        // Else the stream, which opens once a sweep has ended.
        if self.stream.is_none() {
            slot::release(self.table.connection(), &self.slot.name).await?;
            let opened = Stream::open(&self.database, &self.slot);
            let Some(stream) = stop.run_until_cancelled(opened).await else {
                return Ok(BatchStats::default());
            };
            self.stream = Some(stream?);
        }
        // The next batch. One that follows an alteration waits for a sweep.
        if self.received.is_empty() {
            self.receive(stop).await?;
        }
        if self.received.is_after_alteration {
            return Ok(BatchStats::default());
        }
        let batch = std::mem::take(&mut self.received);
        if batch.is_empty() {
            return Ok(BatchStats::default());
        }
        self.publish_and_delete(batch, publisher, stop).await
    }

    /// A sweep that has more to do works, however long it takes. Its end is no success while the stream can't be opened:
    /// that would be tried again and again.
    fn health(&self, stats: BatchStats) -> Health {
        if self.stream.is_some() || self.swept.is_none() {
            stats.health()
        } else {
            Health::Unknown
        }
    }

    /// The stream is waited for.
    fn wait(&self, _: u32) -> Duration {
        Duration::ZERO
    }

    fn is_away(error: &CdcError) -> bool {
        match error {
            CdcError::Session(error) | CdcError::Slot(SlotError::Session(error)) => error.is_away(),
            CdcError::Slot(_)
            | CdcError::Stream(_)
            | CdcError::Silent
            | CdcError::Publication(_) => false,
        }
    }

    fn into_connection(self) -> AsyncPgConnection {
        self.table.into_connection()
    }
}

impl Cdc {
    /// Whether the stream may have left events out, if it is time to look.
    async fn is_something_left_out(&mut self) -> Result<bool, CdcError> {
        if self.swept.is_none() || self.looked_at.elapsed() < LOOK_EVERY {
            return Ok(false);
        }
        self.looked_at = Instant::now();
        let version = slot::publication_version(self.table.connection(), self.slot.publication);
        let version = with_timeout("looking at the publication", version).await?;
        let Some(version) = version else {
            return Err(CdcError::Publication(self.slot.publication));
        };
        let is_altered = version != self.slot.publication_version;
        if is_altered {
            warn!(
                publication = self.slot.publication,
                "the publication was altered: the table is swept"
            );
            self.slot.publication_version = version;
        }
        Ok(is_altered || self.table.has_old_rows().await?)
    }

    fn sweep_is_due(&self) -> bool {
        self.swept.is_none()
            || self.table.is_trial_due()
            || (self.catching_up && self.swept_at.elapsed() >= CATCH_UP_EVERY)
    }

    async fn sweep_once(
        &mut self,
        publisher: &mut Publisher,
        stop: &CancellationToken,
    ) -> Result<BatchStats, CdcError> {
        let step = self.table.sweep_once(publisher, stop);
        let (step, lost) = receive_while(
            &mut self.stream,
            &mut self.received,
            self.kafka_away_max,
            step,
        )
        .await;
        let (run, swept) = step?;
        self.swept = swept;
        self.swept_at = Instant::now();
        self.catching_up = false;
        run.count();
        lost.map_or(Ok(run), |error| Err(error.into()))
    }

    /// Waits for the stream; if the stream is silent, checks whether it should be.
    async fn receive(&mut self, stop: &CancellationToken) -> Result<(), CdcError> {
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        let received = stream.receive(&mut self.received);
        let received = tokio::time::timeout(RECEIVE_WITHIN, received);
        match stop.run_until_cancelled(received).await {
            Some(Ok(received)) => {
                received?;
                self.silent = None;
                Ok(())
            }
            Some(Err(_)) => self.probe().await,
            None => Ok(()),
        }
    }

    /// A half-open connection stays silent for ever: the log and the slot tell whether there is anything to send.
    async fn probe(&mut self) -> Result<(), CdcError> {
        let silent_for = self.stream.as_ref().map(|stream| stream.heard().elapsed());
        if silent_for.is_none_or(|silent_for| silent_for < PROBE_EVERY) {
            return Ok(());
        }
        let conn = self.table.connection();
        let state = with_timeout("looking at the slot", slot::state(conn, &self.slot.name)).await?;
        let Some(state) = state.filter(|state| state.active) else {
            return Err(StreamError::Ended.into());
        };
        let log_end = Lsn::parse(&state.log_end).unwrap_or(Lsn::ZERO);
        let (since, log_end_then) = *self.silent.get_or_insert((Instant::now(), log_end));
        if log_end > log_end_then && since.elapsed() > STREAM_SILENCE_MAX {
            return Err(CdcError::Silent);
        }
        Ok(())
    }

    /// Publishes the events of `batch` that no sweep has published, deletes them, and confirms the batch.
    async fn publish_and_delete(
        &mut self,
        mut batch: Batch,
        publisher: &mut Publisher,
        stop: &CancellationToken,
    ) -> Result<BatchStats, CdcError> {
        metrics::gauge!("relay_slot_lag_seconds").set(batch.lag.as_secs_f64());
        // Leave out what the last sweep published, and the events of blocked keys.
        let received = batch.events.len();
        if let Some(swept) = &self.swept {
            batch.retain(|_, transaction| !swept.includes(transaction));
        }
        self.catching_up = batch.events.len() < received;
        batch.retain(|event, _| !self.table.is_blocked(event.key()));
        // Publish and delete, and receive meanwhile.
        let done =
            self.table
                .publish_and_delete(&batch.events, &batch.transactions, publisher, stop);
        let (done, lost) = receive_while(
            &mut self.stream,
            &mut self.received,
            self.kafka_away_max,
            done,
        )
        .await;
        let run = done?;
        // Confirm, unless the stream was closed meanwhile.
        if self.stream.is_none() || run.again > 0 {
            self.swept = None;
        }
        if let (Some(stream), Some(end)) = (&self.stream, batch.end) {
            stream.confirm(end);
        }
        run.count();
        lost.map_or(Ok(run), |error| Err(error.into()))
    }
}

/// Awaits `work` and receives meanwhile. When that takes longer than `kafka_away_max`, or the stream
/// fails, the stream is closed, and what was received is left for a sweep.
async fn receive_while<T>(
    stream: &mut Option<Stream>,
    received: &mut Batch,
    kafka_away_max: Duration,
    work: impl Future<Output = T>,
) -> (T, Option<StreamError>) {
    let mut work = pin!(work);
    let Some(open) = stream else {
        return (work.await, None);
    };
    let lost = tokio::select! {
        biased;
        done = &mut work => return (done, None),
        lost = tokio::time::timeout(kafka_away_max, open.fill(received)) => lost.ok(),
    };
    if lost.is_none() {
        warn!("Kafka is away for long: the replication stream is closed until it is back");
    }
    *stream = None;
    *received = Batch::default();
    (work.await, lost)
}
