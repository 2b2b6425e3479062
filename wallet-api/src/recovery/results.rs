//! Results of bill payments, taken again from a time on: by the consumer's own code, each once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use chassis::config::KafkaConfig;
use chassis::database::Pool;
use chassis::replay::{Replay, ReplayConfig, hand_over};
use chrono::{DateTime, Utc};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

use crate::settlement::Settlement;

/// Results of one transaction at the most.
const RESULTS_BATCH_MAX: usize = 500;

/// The counter of the settlement, by outcome.
const RESULTS: &str = "bill_results_total";

/// What was done.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) messages: usize,
    /// Results by their outcome.
    pub(super) outcomes: BTreeMap<String, u64>,
    /// See [`Replay::begins_late`].
    pub(super) begins_late: bool,
}

/// Hands each message of `bill.events` since then to the settlement. Call it once in a process: it counts by the
/// process's recorder of metrics.
pub(super) async fn replay(
    pool: &Pool,
    kafka: &KafkaConfig,
    ignored_types: &[String],
    since: DateTime<Utc>,
) -> anyhow::Result<Settled> {
    let tally = Tally::default();
    let installed = metrics::set_global_recorder(tally.clone());
    installed.map_err(|error| anyhow::anyhow!("counting the results: {error}"))?;
    let mut replay = Replay::open(ReplayConfig {
        brokers: kafka.kafka_brokers.clone(),
        topic: kafka.prefixed(events::BILL_TOPIC),
        since,
        batch_records_max: RESULTS_BATCH_MAX,
    })
    .await?;
    let begins_late = replay.begins_late();
    let mut settlement = Settlement::new(pool.clone());
    let messages = hand_over(&mut replay, &mut settlement, ignored_types).await;
    let messages =
        messages.context("taking results; run it again: what was taken is taken once")?;
    let outcomes = tally.0.lock().unwrap_or_else(PoisonError::into_inner);
    let outcomes = outcomes
        .iter()
        .map(|(outcome, count)| (outcome.clone(), count.load(Ordering::Relaxed)));
    Ok(Settled {
        messages,
        outcomes: outcomes.collect(),
        begins_late,
    })
}

/// Reads what the settlement counts.
#[derive(Debug, Default, Clone)]
struct Tally(Arc<Mutex<BTreeMap<String, Arc<AtomicU64>>>>);

impl Recorder for Tally {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        if key.name() != RESULTS {
            return Counter::noop();
        }
        let outcome = key.labels().find(|label| label.key() == "outcome");
        let outcome = outcome.map_or("", |label| label.value()).to_owned();
        let mut outcomes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Counter::from_arc(Arc::clone(outcomes.entry(outcome).or_default()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
