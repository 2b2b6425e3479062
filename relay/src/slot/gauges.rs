//! The slot's gauges: the log it retains, and its lag.
//!
//! Apart from the relaying, on a connection of the pool: a slot that nobody reads fills the disk, and
//! that is when they matter. Every relay of the mode sets them, the standbys too.

use std::time::Duration;

use chassis::database::Pool;
use chassis::telemetry::chain;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::State;
use crate::pending::look;

const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// The values of `pg_replication_slots.wal_status`.
const WAL_STATUSES: [&str; 4] = ["reserved", "extended", "unreserved", "lost"];

/// Keeps the gauges up to date until `stop`.
pub async fn run(pool: Pool, publication: &'static str, stop: CancellationToken) {
    begin();
    let mut tick = tokio::time::interval(SAMPLE_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        let sampled = look(&pool, async |conn| {
            let name = super::name_here(conn, publication).await?;
            super::state(conn, &name).await
        });
        match stop.run_until_cancelled(sampled).await {
            None => break,
            Some(Ok(state)) => show(state.as_ref()),
            // The driver logs it when the database is away.
            Some(Err(error)) => debug!("sampling the slot: {}", chain(&*error)),
        }
    }
}

/// Both are there from the start, whatever the relay does.
fn begin() {
    metrics::gauge!("relay_active").set(0.0);
    metrics::gauge!("relay_slot_lag_seconds").set(0.0);
}

fn show(state: Option<&State>) {
    let bytes = |bytes: i64| {
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        let bytes = bytes as f64;
        bytes
    };
    let retained = state.map_or(0, |state| state.retained_bytes);
    let lag = state.map_or(0, |state| state.lag_bytes);
    metrics::gauge!("relay_slot_retained_wal_bytes").set(bytes(retained));
    metrics::gauge!("relay_slot_lag_bytes").set(bytes(lag));
    let status = state.and_then(|state| state.wal_status.as_deref());
    for known in WAL_STATUSES {
        let is = if status == Some(known) { 1.0 } else { 0.0 };
        metrics::gauge!("relay_slot_wal_status", "status" => known).set(is);
    }
}
