//! The gauges of the outbox: how many events wait, since when, and how many are parked; and half of what `/readyz` says.
//!
//! Apart from the relaying, on a connection of its own: the gauges stay current when the relaying stands still.

use std::time::Duration;

use chassis::database::{Connection, Pool};
use chassis::telemetry::chain;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Double, Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use outbox::statement;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::progress::Progress;

/// Rows are counted up to this many, so that counting a backlog does not slow down its removal.
pub(crate) const PENDING_ROWS_MAX: i64 = 10_000;

const SAMPLE_EVERY: Duration = Duration::from_secs(1);

const LOOK_WITHIN: Duration = Duration::from_secs(5);

/// What is waiting in the outbox.
#[derive(Debug, Clone, PartialEq, QueryableByName)]
pub struct Pending {
    /// Rows, up to [`PENDING_ROWS_MAX`].
    #[diesel(sql_type = BigInt)]
    pub rows: i64,
    /// Seconds since the transaction of the oldest row began; zero without one.
    #[diesel(sql_type = Double)]
    pub oldest_age_seconds: f64,
    /// Parked events, up to [`PENDING_ROWS_MAX`].
    #[diesel(sql_type = BigInt)]
    pub parked: i64,
    /// The oldest row whose key is not parked, in words, if it is among the first [`PENDING_ROWS_MAX`].
    #[diesel(sql_type = Nullable<Text>)]
    pub oldest: Option<String>,
}

/// Queries the outbox once.
#[expect(clippy::missing_errors_doc, reason = "any error of the database")]
pub async fn sample(conn: &mut AsyncPgConnection) -> diesel::QueryResult<Pending> {
    statement(
        "select count(*) as rows, \
         coalesce(extract(epoch from clock_timestamp() - min(created_at)), 0)::float8 as oldest_age_seconds, \
         (select count(*) from (select from parked_events limit $1) as parked) as parked, \
         (select format('%s for the topic %s.events', seq, aggregatetype) \
             from (select seq, aggregatetype, aggregateid from outbox order by seq limit $2) as first \
             where aggregateid not in ( \
                 select aggregateid from parked_events where replay_requested_at is null) \
             order by seq limit 1) as oldest \
         from (select created_at from outbox order by seq limit $3) as oldest",
    )
    .bind::<BigInt, _>(PENDING_ROWS_MAX)
    .bind::<BigInt, _>(PENDING_ROWS_MAX)
    .bind::<BigInt, _>(PENDING_ROWS_MAX)
    .get_result(conn)
    .await
}

/// Runs a query on a connection of `pool`. A connection that stays silent is given up: it may be half-open.
pub(crate) async fn look<T>(
    pool: &Pool,
    look: impl AsyncFnOnce(&mut AsyncPgConnection) -> diesel::QueryResult<T>,
) -> anyhow::Result<T> {
    let mut conn = pool.get().await?;
    if let Ok(seen) = tokio::time::timeout(LOOK_WITHIN, look(&mut conn)).await {
        return Ok(seen?);
    }
    drop(Connection::take(conn));
    anyhow::bail!("the database did not answer for {LOOK_WITHIN:?}")
}

/// Keeps the gauges and `progress` up to date until `stop`.
pub async fn run(pool: Pool, progress: Progress, stop: CancellationToken) {
    let mut tick = tokio::time::interval(SAMPLE_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        let sampled = look(&pool, sample);
        match stop.run_until_cancelled(sampled).await {
            None => break,
            Some(Ok(pending)) => {
                let count = |rows: i64| f64::from(u32::try_from(rows).unwrap_or(u32::MAX));
                metrics::gauge!("outbox_pending_rows").set(count(pending.rows));
                metrics::gauge!("relay_parked_events").set(count(pending.parked));
                metrics::gauge!("outbox_oldest_unpublished_age_seconds")
                    .set(pending.oldest_age_seconds);
                progress.oldest_is(pending.oldest);
            }
            // The driver logs it when the database is away; a line a second more helps nobody.
            Some(Err(error)) => debug!("sampling the outbox: {}", chain(&*error)),
        }
    }
}
