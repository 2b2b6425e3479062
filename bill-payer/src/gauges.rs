//! Gauges of the bills that are not finished.

use std::time::Duration;

use chassis::database::Pool;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::domain::Status;
use crate::reads;

/// Lower: more counting of a long queue. Higher: alarms are late.
const EVERY: Duration = Duration::from_secs(5);

const UNFINISHED: [Status; 3] = [Status::Paying, Status::Cancelling, Status::Parked];

/// Sets the gauges until `stop`.
pub async fn run(pool: Pool, stop: CancellationToken) -> anyhow::Result<()> {
    let mut tick = tokio::time::interval(EVERY);
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        if let Err(error) = run_once(&pool).await {
            warn!("counting bills: {error:#}");
        }
    }
    Ok(())
}

/// Sets `bills{status}` and `bills_oldest_age_seconds{status}`, also to zero.
pub async fn run_once(pool: &Pool) -> anyhow::Result<()> {
    let mut conn = pool.get().await?;
    let counted = reads::unfinished(&mut conn).await?;
    for status in UNFINISHED {
        let label = status.into_str();
        let found = counted.iter().find(|row| row.status == label);
        let (bills, oldest_s) = found.map_or((0.0, 0.0), |row| (row.bills, row.oldest_s));
        metrics::gauge!("bills", "status" => label).set(bills);
        metrics::gauge!("bills_oldest_age_seconds", "status" => label).set(oldest_s);
    }
    Ok(())
}
