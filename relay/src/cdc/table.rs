//! The outbox table as mode cdc uses it: sweeping it, and deleting from it what was published.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use diesel::QueryableByName;
use diesel::prelude::*;
use diesel::result::Error::DeserializationError;
use diesel::sql_types::{Array, BigInt, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use futures_util::TryStreamExt as _;
use outbox::schema::outbox as table;
use outbox::statement;
use tokio_util::sync::CancellationToken;

use super::position::Lsn;
use super::stream::{BYTES_MAX, ROWS_MAX};
use super::swept::{Snapshot, Swept, Transaction};
use crate::blocked::BlockedKeys;
use crate::event::Event;
use crate::progress::Run;
use crate::publisher::{Outcome, Publisher};
use crate::session::{SessionError, answer};

/// The first wait for a transaction that the stream has brought and SQL does not see yet; doubles up to
/// [`VISIBLE_WAIT_MAX`]. It is a moment, or as long as a synchronous standby takes.
const VISIBLE_WAIT_FIRST: Duration = Duration::from_millis(1);

/// The longest of those waits.
const VISIBLE_WAIT_MAX: Duration = Duration::from_secs(1);

/// How often to sweep while transactions are running that ran when the slot was made.
const OUTLIVE_WAIT: Duration = Duration::from_millis(10);

/// The connection, and the keys that wait.
pub(super) struct Table {
    conn: AsyncPgConnection,
    blocked: BlockedKeys,
    /// The number of a transaction that began when the slot was there.
    begun: u64,
}

impl Table {
    /// To be called when the slot is there.
    pub(super) async fn new(mut conn: AsyncPgConnection) -> Result<Self, SessionError> {
        let begun = answer("beginning a transaction", next_xid(&mut conn)).await?;
        Ok(Self {
            conn,
            blocked: BlockedKeys::default(),
            begun,
        })
    }

    pub(super) const fn connection(&mut self) -> &mut AsyncPgConnection {
        &mut self.conn
    }

    /// Whether events of `key` have to wait in the table.
    pub(super) fn is_blocked(&self, key: &str) -> bool {
        self.blocked.contains(key)
    }

    /// Whether it is time to try a blocked key.
    pub(super) fn is_trial_due(&self) -> bool {
        self.blocked.is_due(Instant::now())
    }

    /// Publishes the first rows of the table and deletes them. Answers what is covered if there was
    /// nothing else: every row is gone then, or its key is blocked.
    ///
    /// Nothing is covered while a transaction is running that ran when the slot was there: a new slot does
    /// not bring one whose commit was in the log but not yet visible when it was made.
    pub(super) async fn sweep_once(
        &mut self,
        publisher: &mut Publisher,
        stop: &CancellationToken,
    ) -> Result<(Run, Option<Swept>), SessionError> {
        let begun = Instant::now();
        // Before the read: that one sees at least as much.
        let swept = answer("taking a snapshot", covered(&mut self.conn)).await?;
        let (events, there_is_more) = self.read(begun).await?;
        let keys: Vec<String> = events
            .iter()
            .map(|event| event.aggregateid.clone())
            .collect();
        let (trials, events) = self.trials(events);
        let mut run = Run {
            read: keys.len(),
            ..Run::default()
        };
        for batch in trials.chunks(1).chain([events.as_slice()]) {
            let (carried, _) = self.carry(batch, &[], publisher, stop).await?;
            run.published += carried.published;
            run.refused += carried.refused;
            run.deleted += carried.deleted;
        }
        let waiting = keys.iter().filter(|key| self.blocked.contains(key)).count();
        if there_is_more || run.published + waiting < run.read {
            return Ok((run, None));
        }
        if !swept.snapshot.outlives(self.begun) {
            tokio::time::sleep(OUTLIVE_WAIT).await;
            return Ok((run, None));
        }
        self.blocked.forget_due(begun);
        Ok((run, Some(swept)))
    }

    /// Publishes `events` and deletes what was acknowledged; `transactions` are those of the events, if
    /// they come by the stream. Answers too whether each key that has to wait is remembered.
    pub(super) async fn carry(
        &mut self,
        events: &[Event],
        transactions: &[Transaction],
        publisher: &mut Publisher,
        stop: &CancellationToken,
    ) -> Result<(Run, bool), SessionError> {
        let mut run = Run {
            read: events.len(),
            ..Run::default()
        };
        if events.is_empty() {
            return Ok((run, true));
        }
        let outcomes = publisher.publish(events, stop).await;
        let now = Instant::now();
        let mut published = Vec::with_capacity(events.len());
        let mut all_are_remembered = true;
        for (event, outcome) in events.iter().zip(outcomes) {
            let key = event.key();
            match outcome {
                Outcome::Published => {
                    published.push(event.seq);
                    self.blocked.published(key);
                    continue;
                }
                Outcome::Refused(_) => {
                    run.refused += 1;
                    self.blocked.refused(key, now);
                }
                Outcome::Pending => self.blocked.pending(key, now),
            }
            all_are_remembered &= self.blocked.contains(key);
        }
        run.published = published.len();
        run.deleted = self
            .delete(published, events.len(), transactions, stop)
            .await?;
        Ok((run, all_are_remembered))
    }

    /// The first rows, but for those of keys that are left alone, and whether there may be more.
    async fn read(&mut self, now: Instant) -> Result<(Vec<Event>, bool), SessionError> {
        let rows_max = i64::try_from(ROWS_MAX).unwrap_or(i64::MAX);
        let rows = statement(
            "select seq, id, aggregatetype, aggregateid, type, source, specversion, contenttype, \
                 traceparent, payload::text as payload \
             from outbox where aggregateid <> all ($1) order by seq limit $2",
        )
        .bind::<Array<Text>, _>(self.blocked.left_alone(now))
        .bind::<BigInt, _>(rows_max);
        let conn = &mut self.conn;
        answer("reading the outbox", async {
            let mut rows = rows.load_stream::<Event>(conn).await?;
            let mut events = Vec::new();
            let mut bytes = 0;
            while let Some(event) = rows.try_next().await? {
                bytes += event.bytes();
                events.push(event);
                if bytes > BYTES_MAX {
                    return Ok((events, true));
                }
            }
            let full = events.len() >= ROWS_MAX;
            Ok((events, full))
        })
        .await
    }

    /// Takes those events apart whose key's next one was refused before: that one is to be tried
    /// alone, and those behind it wait until it is taken.
    fn trials(&self, events: Vec<Event>) -> (Vec<Event>, Vec<Event>) {
        let (mut trials, events): (Vec<_>, Vec<_>) = events
            .into_iter()
            .partition(|event| self.blocked.is_on_trial(event.key()));
        let mut seen = HashSet::new();
        trials.retain(|event| seen.insert(event.aggregateid.clone()));
        (trials, events)
    }

    /// Deletes what was published. If that is less than `received`, the rows are looked for again until
    /// SQL sees all of `transactions`: those that are missing then were deleted before, and those that
    /// were not published will be found by the next sweep.
    async fn delete(
        &mut self,
        published: Vec<i64>,
        received: usize,
        transactions: &[Transaction],
        stop: &CancellationToken,
    ) -> Result<usize, SessionError> {
        let mut deleted = self.delete_once(&published).await?;
        let mut wait = VISIBLE_WAIT_FIRST;
        while deleted < received && !transactions.is_empty() && !stop.is_cancelled() {
            let seen = answer("taking a snapshot", covered(&mut self.conn)).await?;
            deleted += self.delete_once(&published).await?;
            let mut transactions = transactions.iter();
            if transactions.all(|transaction| seen.snapshot.sees(transaction.xid)) {
                break;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(VISIBLE_WAIT_MAX);
        }
        Ok(deleted)
    }

    async fn delete_once(&mut self, published: &[i64]) -> Result<usize, SessionError> {
        if published.is_empty() {
            return Ok(0);
        }
        let rows = table::table.filter(table::seq.eq_any(published));
        let deleted = diesel::delete(rows).execute(&mut self.conn);
        answer("deleting what was published", deleted).await
    }
}

/// The number of a transaction of its own: those that began before have smaller ones.
async fn next_xid(conn: &mut AsyncPgConnection) -> QueryResult<u64> {
    let xid = diesel::dsl::sql::<Text>("pg_current_xact_id()::text");
    let xid: String = diesel::select(xid).get_result(conn).await?;
    let xid = xid.parse();
    xid.map_err(|error| DeserializationError(Box::new(error)))
}

/// What a query would see now.
async fn covered(conn: &mut AsyncPgConnection) -> QueryResult<Swept> {
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
    Ok(Swept { snapshot, until })
}
