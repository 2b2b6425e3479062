//! Takes results of bill payments again, from a time on: by the consumer's own code, each once.

use std::collections::BTreeMap;

use anyhow::Context as _;
use chassis::config::KafkaConfig;
use chassis::database::Pool;
use chassis::replay::{Replay, ReplayConfig, hand_over};
use chrono::{DateTime, Utc};

use crate::settlement::Settlement;

/// Results in one transaction, at most.
const RESULTS_BATCH_MAX: usize = 500;

#[derive(Debug)]
pub(super) struct ReplayReport {
    pub(super) messages: usize,
    /// Numbers of results.
    pub(super) outcomes: BTreeMap<&'static str, u64>,
    /// See [`Replay::begins_late`].
    pub(super) begins_late: bool,
}

/// Hands each message of `bill.events` from `since` on to the settlement.
pub(super) async fn replay(
    pool: &Pool,
    kafka: &KafkaConfig,
    ignored_types: &[String],
    since: DateTime<Utc>,
) -> anyhow::Result<ReplayReport> {
    let mut replay = Replay::open(ReplayConfig {
        brokers: kafka.brokers()?,
        topic: kafka.prefixed(events::BILL_TOPIC),
        since,
        batch_records_max: RESULTS_BATCH_MAX,
    })
    .await?;
    let begins_late = replay.begins_late();
    let mut settlement = Settlement::new(pool.clone());
    let messages = hand_over(&mut replay, &mut settlement, ignored_types)
        .await
        .context("taking results; run it again: what was taken is taken once")?;
    Ok(ReplayReport {
        messages,
        outcomes: settlement.outcomes().clone(),
        begins_late,
    })
}
