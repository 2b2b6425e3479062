//! The outbox table as mode cdc uses it: sweeping it, and deleting from it what was published.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use diesel::QueryableByName;
use diesel::prelude::*;
use diesel::result::Error::DeserializationError;
use diesel::sql_types::{Array, Bool, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection as _};
use outbox::Event;
use outbox::{drain, statement};
use pgwire_replication::Lsn;
use tokio_util::sync::CancellationToken;

use super::snapshot::{Snapshot, SweepSnapshot, Transaction};
use super::stream::{BYTES_MAX, ROWS_MAX};
use crate::parked;
use crate::progress::BatchStats;
use crate::publisher::{ByOutcome, Publisher};
use crate::session::{self, SessionError, with_timeout};
use crate::waiting::WaitingKeys;

/// The first wait for a transaction that the stream has brought and SQL does not see yet; doubles up to
/// [`VISIBLE_WAIT_MAX`]. It is a moment, or as long as a synchronous standby takes.
const VISIBLE_WAIT_FIRST: Duration = Duration::from_millis(1);
const VISIBLE_WAIT_MAX: Duration = Duration::from_secs(1);

/// How often to sweep while transactions are running that ran when the slot was made.
const OUTLIVE_WAIT: Duration = Duration::from_millis(10);

/// How often to check whether a parked key is to be retried.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The connection, and the blocked keys: their events wait in the table.
pub(super) struct Table {
    conn: AsyncPgConnection,
    /// Those of `parked_events`: nobody else adds to them, and a key that is free again is
    /// forgotten at the beginning of a sweep only.
    parked: HashSet<String>,
    looked: Option<Instant>,
    waiting: WaitingKeys,
    /// The number of a transaction that began when the slot was there.
    begun: u64,
    epoch: String,
}

impl Table {
    /// To be called when the slot is there.
    pub(super) async fn new(mut conn: AsyncPgConnection) -> Result<Self, SessionError> {
        let begun = with_timeout("beginning a transaction", next_xid(&mut conn)).await?;
        let epoch = with_timeout("asking for the epoch", session::epoch(&mut conn)).await?;
        Ok(Self {
            conn,
            parked: HashSet::new(),
            looked: None,
            waiting: WaitingKeys::default(),
            begun,
            epoch,
        })
    }

    pub(super) const fn connection(&mut self) -> &mut AsyncPgConnection {
        &mut self.conn
    }

    pub(super) fn into_connection(self) -> AsyncPgConnection {
        self.conn
    }

    pub(super) fn is_blocked(&self, key: &str) -> bool {
        self.parked.contains(key) || self.waiting.contains(key)
    }

    pub(super) fn is_trial_due(&self) -> bool {
        self.waiting.is_due(Instant::now())
    }

    /// Whether, if it is time to check, other keys are parked than before: the event of one
    /// is gone, or to be replayed, and a sweep is due.
    pub(super) async fn is_parking_changed(&mut self) -> Result<bool, SessionError> {
        if self.looked.is_some_and(|last| last.elapsed() < LOOK_EVERY) {
            return Ok(false);
        }
        with_timeout("tidying parked events", parked::tidy(&mut self.conn)).await?;
        self.looked = Some(Instant::now());
        Ok(self.parked_keys().await? != self.parked)
    }

    async fn parked_keys(&mut self) -> Result<HashSet<String>, SessionError> {
        let keys = parked::keys(&mut self.conn);
        with_timeout("looking for parked keys", keys).await
    }

    /// Whether the table's first row, but for those of blocked keys, is five seconds old: the stream brings a
    /// row long before, or never.
    pub(super) async fn has_old_rows(&mut self) -> Result<bool, SessionError> {
        #[derive(QueryableByName)]
        struct Found {
            #[diesel(sql_type = Bool)]
            found: bool,
        }
        let found = statement(
            "select coalesce(clock_timestamp() - ( \
                 select created_at from outbox \
                 where aggregateid not in (select unnest($1)) and aggregateid not in ( \
                     select aggregateid from parked_events where replay_requested_at is null) \
                 order by seq limit 1) > interval '5 s', false) as found",
        )
        .bind::<Array<Text>, _>(self.waiting.all())
        .get_result(&mut self.conn);
        let found: Found = with_timeout("looking for old rows", found).await?;
        Ok(found.found)
    }

    /// Publishes the first rows of the table and deletes them. Returns the snapshot of the sweep if there was
    /// nothing else: every row is gone then, or its key is blocked.
    ///
    /// The sweep does not end while a transaction is running that ran when the slot was there: a new slot does
    /// not bring one whose commit was in the log but not yet visible when it was made.
    pub(super) async fn sweep_once(
        &mut self,
        publisher: &mut Publisher,
        stop: &CancellationToken,
    ) -> Result<(BatchStats, Option<SweepSnapshot>), SessionError> {
        let begun = Instant::now();
        // All three see the same: an event that the read found and the snapshot did not see would come by the stream
        // once more.
        self.execute("begin isolation level repeatable read, read only")
            .await?;
        let swept = with_timeout("taking a snapshot", sweep_snapshot(&mut self.conn)).await?;
        self.parked = self.parked_keys().await?;
        let (events, there_is_more) = self.read(begun).await?;
        self.execute("commit").await?;
        // Publish with no transaction open.
        let run = self
            .publish_and_delete(&events, &[], publisher, stop)
            .await?;
        let blocked = events.iter().filter(|event| self.is_blocked(event.key()));
        // Has the sweep ended?
        if there_is_more || run.published + blocked.count() < run.read {
            return Ok((run, None));
        }
        if !swept.snapshot.outlives(self.begun) {
            tokio::time::sleep(OUTLIVE_WAIT).await;
            return Ok((run, None));
        }
        self.waiting.forget_due(begun);
        Ok((run, Some(swept)))
    }

    async fn execute(&mut self, transaction: &str) -> Result<(), SessionError> {
        let executed = self.conn.batch_execute(transaction);
        with_timeout("reading the outbox", executed).await
    }

    /// Publishes `events`, deletes what was acknowledged and parks what was refused; `transactions` are
    /// those of the events, if they come by the stream.
    pub(super) async fn publish_and_delete(
        &mut self,
        events: &[Event],
        transactions: &[Transaction],
        publisher: &mut Publisher,
        stop: &CancellationToken,
    ) -> Result<BatchStats, SessionError> {
        if events.is_empty() {
            return Ok(BatchStats::default());
        }
        let outcomes = publisher.publish(&self.epoch, events, stop).await;
        let sorted = ByOutcome::new(events, outcomes);
        let seqs = sorted.seqs();
        let deleted = self.delete(&seqs, events.len(), transactions, stop).await?;
        publisher.forget(&sorted.published);
        // Now that SQL sees the events.
        let parked = parked::park(&mut self.conn, &sorted.refused);
        let parked = with_timeout("parking what is refused", parked).await?;
        for refusal in &sorted.refused {
            if parked.contains(&refusal.event.seq) {
                self.parked.insert(refusal.event.key().to_owned());
            }
        }
        let run = BatchStats {
            read: events.len(),
            published: sorted.published.len(),
            refused: sorted.refused.len(),
            parked: parked.len(),
            deleted,
            again: self.waiting.remember(&sorted, &parked),
        };
        Ok(run)
    }

    /// The first rows, but for those of keys that are parked or blocked, and whether there may be more.
    async fn read(&mut self, now: Instant) -> Result<(Vec<Event>, bool), SessionError> {
        let rows_max = i64::try_from(ROWS_MAX).unwrap_or(i64::MAX);
        let skipped = self.waiting.blocked(now);
        let page = drain::next(&mut self.conn, &skipped, rows_max, BYTES_MAX);
        let page = with_timeout("reading the outbox", page).await?;
        let there_may_be_more = page.is_cut_off || page.events.len() >= ROWS_MAX;
        Ok((page.events, there_may_be_more))
    }

    async fn delete_rows(&mut self, seqs: &[i64]) -> Result<usize, SessionError> {
        let deleted = drain::delete(&mut self.conn, seqs);
        with_timeout("deleting what was published", deleted).await
    }

    /// Deletes what was published. If that is less than `received`, the rows are looked for again until
    /// SQL sees all of `transactions`: those that are missing then were deleted before, and those that
    /// were not published will be found by the next sweep.
    async fn delete(
        &mut self,
        published: &[i64],
        received: usize,
        transactions: &[Transaction],
        stop: &CancellationToken,
    ) -> Result<usize, SessionError> {
        let mut deleted = self.delete_rows(published).await?;
        let mut wait = VISIBLE_WAIT_FIRST;
        while deleted < received && !transactions.is_empty() && !stop.is_cancelled() {
            let seen = with_timeout("taking a snapshot", sweep_snapshot(&mut self.conn)).await?;
            deleted += self.delete_rows(published).await?;
            let mut transactions = transactions.iter();
            if transactions.all(|transaction| seen.snapshot.sees(transaction.xid)) {
                break;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(VISIBLE_WAIT_MAX);
        }
        Ok(deleted)
    }
}

/// The number of a transaction of its own: those that began before have smaller ones.
async fn next_xid(conn: &mut AsyncPgConnection) -> QueryResult<u64> {
    let xid = diesel::dsl::sql::<Text>("pg_current_xact_id()::text");
    let xid: String = diesel::select(xid).get_result(conn).await?;
    let xid = xid.parse();
    xid.map_err(|error| DeserializationError(Box::new(error)))
}

async fn sweep_snapshot(conn: &mut AsyncPgConnection) -> QueryResult<SweepSnapshot> {
    #[derive(QueryableByName)]
    struct Now {
        #[diesel(sql_type = Text)]
        snapshot: String,
        #[diesel(sql_type = Text)]
        log_end: String,
    }
    let now: Now = statement(
        "select pg_current_snapshot()::text as snapshot, pg_current_wal_insert_lsn()::text as log_end",
    )
    .get_result(conn)
    .await?;
    let parsed = Snapshot::parse(&now.snapshot).zip(Lsn::parse(&now.log_end).ok());
    let (snapshot, until) = parsed
        .ok_or_else(|| DeserializationError("a snapshot or position of another form".into()))?;
    Ok(SweepSnapshot { snapshot, until })
}
