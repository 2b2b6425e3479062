//! Gauges of a service with an outbox: its pool, and how long its oldest event has waited, also when no relay is there to say
//! so.

use std::time::Duration;

use chassis::database::Pool;
use chassis::telemetry::chain;
use diesel::QueryableByName;
use diesel::sql_types::Double;
use diesel_async::RunQueryDsl as _;
use outbox::statement;
use tokio_util::sync::CancellationToken;
use tracing::debug;

const EVERY: Duration = Duration::from_secs(5);

#[derive(QueryableByName)]
struct Oldest {
    #[diesel(sql_type = Double)]
    age_s: f64,
}

/// Sets the gauges until `stop`.
pub async fn run(pool: Pool, stop: CancellationToken) -> anyhow::Result<()> {
    let mut tick = tokio::time::interval(EVERY);
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        let status = pool.status();
        let count = |number: usize| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
        metrics::gauge!("database_pool_connections", "state" => "idle")
            .set(count(status.available));
        metrics::gauge!("database_pool_connections", "state" => "in_use")
            .set(count(status.size.saturating_sub(status.available)));
        metrics::gauge!("database_pool_waiting").set(count(status.waiting));
        // Whoever needs the database says that it is away.
        match stop.run_until_cancelled(oldest_age_s(&pool)).await {
            None => break,
            Some(Ok(age_s)) => metrics::gauge!("outbox_oldest_age_seconds").set(age_s),
            Some(Err(error)) => debug!("looking for the oldest event: {}", chain(&*error)),
        }
    }
    Ok(())
}

/// Seconds since the oldest event was written; zero without one.
async fn oldest_age_s(pool: &Pool) -> anyhow::Result<f64> {
    let mut conn = pool.get().await?;
    let oldest: Oldest = statement(
        "select coalesce(extract(epoch from clock_timestamp() - \
         (select created_at from outbox order by seq limit 1)), 0)::float8 as age_s",
    )
    .get_result(&mut conn)
    .await?;
    Ok(oldest.age_s)
}
