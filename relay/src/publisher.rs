//! Publishing to Kafka: what is acknowledged, what is refused, what has to wait.
//!
//! Promises: events of one key arrive in the order given, and none arrives after an event of its key that did
//! not; an outage is waited out, however long; a topic that fails blocks the keys of its events and no
//! others. Leaves to the caller: deleting, retrying, and what to do about a refused event.
//!
//! Each topic has a producer of its own, a [`Lane`]. While Kafka is away a call waits for all lanes; when Kafka
//! works, it does not wait for a topic that is silent: its events are pending until their reports are in.

mod failure;
mod lane;
mod outcome;

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::time::Duration;

use chassis::config::KafkaConfig;
use chassis::kafka::{Brokers, Probe};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use outbox::Event;
use rdkafka::ClientConfig;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, info};
use uuid::Uuid;

use self::lane::{Call, Indexed, Lane, OUTAGE_AFTER};
pub use self::outcome::Outcome;
pub(crate) use self::outcome::{ByOutcome, Refusal};
use crate::SERVICE;
use crate::config::PublisherConfig;

const PROBE_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Events published at once at most: what the producer's queue has room for.
pub(crate) const EVENTS_MAX: usize = 100_000;

/// Bytes of them at most, about.
pub(crate) const BYTES_MAX: usize = 64 * 1024 * 1024;

/// Topics that are remembered at most. An outbox has one or two.
const LANES_MAX: usize = 32;

/// A producer for each topic.
pub struct Publisher {
    settings: ClientConfig,
    topic_prefix: String,
    topic_failing_max: Duration,
    probe: Probe,
    /// By aggregate type.
    lanes: HashMap<String, Lane>,
    /// Acknowledged, and not known to be deleted: a failed delete does not publish them again.
    acknowledged: HashSet<(i64, Uuid)>,
}

impl Publisher {
    /// Connects in the background.
    ///
    /// # Errors
    /// The settings do not make a client.
    pub fn new(kafka: &KafkaConfig, config: &PublisherConfig) -> anyhow::Result<Self> {
        let brokers = kafka.brokers()?;
        Ok(Self {
            settings: settings(&brokers, config),
            topic_prefix: kafka.topic_prefix.clone(),
            topic_failing_max: config.topic_failing_max(),
            probe: Probe::new(&brokers, SERVICE)?,
            lanes: HashMap::new(),
            acknowledged: HashSet::new(),
        })
    }

    /// Publishes `events`, at most [`EVENTS_MAX`] and about [`BYTES_MAX`], with `epoch` in a header, and waits until
    /// the outcome of each is known; returns them in order. During an outage that takes as long as the outage, or
    /// until a few seconds after `stop`. Does not wait for a topic that fails while Kafka works.
    ///
    /// Not to be dropped half-way: events would still be in flight.
    pub async fn publish(
        &mut self,
        epoch: &str,
        events: &[Event],
        stop: &CancellationToken,
    ) -> Vec<Outcome> {
        if events.is_empty() {
            return Vec::new();
        }
        // What is known already, and what each lane is to send.
        for lane in self.lanes.values_mut() {
            lane.look().await;
        }
        let mut outcomes = vec![Outcome::Pending; events.len()];
        let mut work = self.distribute(events, &mut outcomes);

        // All lanes send at once.
        let kafka_works = CancellationToken::new();
        let call = Call {
            settings: &self.settings,
            epoch,
            stop,
            kafka_works: &kafka_works,
        };
        let mut lanes = FuturesUnordered::new();
        for (aggregate_type, lane) in &mut self.lanes {
            if let Some(events) = work.remove(aggregate_type.as_str()) {
                let span = lane.span(&events);
                lanes.push(lane.publish(events, &call).instrument(span));
            }
        }
        // Collect the outcomes. Once Kafka works, the lanes don't wait for a silent topic.
        let mut kafka_answers = pin!(kafka_answers(&self.probe));
        loop {
            let published = tokio::select! {
                biased;
                published = lanes.next() => published,
                () = &mut kafka_answers, if !kafka_works.is_cancelled() => {
                    kafka_works.cancel();
                    continue;
                }
            };
            let Some(published) = published else { break };
            for (place, outcome) in published {
                if outcome == Outcome::Published {
                    kafka_works.cancel();
                    if let Some(event) = events.get(place) {
                        self.acknowledged.insert(event.row());
                        log_published(event, &self.topic_prefix);
                    }
                }
                if let Some(place) = outcomes.get_mut(place) {
                    *place = outcome;
                }
            }
        }
        outcomes
    }

    /// To be called when `events` are deleted.
    pub(crate) fn forget(&mut self, events: &[&Event]) {
        for event in events {
            self.acknowledged.remove(&event.row());
        }
        // The rest was deleted by another session, or restored away. Published again, it does no harm.
        if self.acknowledged.len() > EVENTS_MAX {
            self.acknowledged.clear();
        }
    }

    /// Writes into `outcomes` what is known; returns what each lane is to send. In one call the events of a key go to
    /// one topic only: those for another topic wait until they are acknowledged.
    fn distribute<'a>(
        &mut self,
        events: &'a [Event],
        outcomes: &mut [Outcome],
    ) -> HashMap<&'a str, Vec<Indexed<'a>>> {
        let mut work: HashMap<&str, Vec<Indexed<'_>>> = HashMap::new();
        // For each key the aggregate type of its events that are sent; none: they wait.
        let mut keys: HashMap<&str, Option<&str>> = HashMap::new();
        for ((place, event), outcome) in events.iter().enumerate().zip(outcomes) {
            let aggregate_type = event.aggregatetype.as_str();
            // An earlier event of its key is sent to the same topic, or waits.
            match keys.get(event.key()) {
                Some(Some(sent)) if *sent == aggregate_type => {
                    work.entry(aggregate_type).or_default().push((place, event));
                    continue;
                }
                Some(_) => {
                    keys.insert(event.key(), None);
                    continue;
                }
                None => {}
            }
            // Published before, and not deleted.
            if self.acknowledged.contains(&event.row()) {
                *outcome = Outcome::Published;
                continue;
            }
            let Some(lane) = self.lane(aggregate_type) else {
                keys.insert(event.key(), None);
                continue;
            };
            // Its report was late, or it is to be sent.
            match lane.known(event.row()) {
                Some(Outcome::Published) => {
                    *outcome = Outcome::Published;
                    self.acknowledged.insert(event.row());
                    log_published(event, &self.topic_prefix);
                }
                Some(refused @ Outcome::Refused(_)) => {
                    *outcome = refused;
                    keys.insert(event.key(), None);
                }
                Some(Outcome::Pending) | None if lane.is_open() => {
                    keys.insert(event.key(), Some(aggregate_type));
                    work.entry(aggregate_type).or_default().push((place, event));
                }
                Some(Outcome::Pending) | None => {
                    keys.insert(event.key(), None);
                }
            }
        }
        work
    }

    /// Returns nothing while too many other topics fail.
    fn lane(&mut self, aggregate_type: &str) -> Option<&mut Lane> {
        if !self.lanes.contains_key(aggregate_type) {
            if self.lanes.len() >= LANES_MAX {
                self.lanes.retain(|_, lane| !lane.is_forgettable());
            }
            if self.lanes.len() >= LANES_MAX {
                return None;
            }
            let topic = format!("{}{aggregate_type}.events", self.topic_prefix);
            let lane = Lane::new(topic, self.topic_failing_max);
            self.lanes.insert(aggregate_type.to_owned(), lane);
        }
        self.lanes.get_mut(aggregate_type)
    }
}

/// Returns when acknowledgements take long although Kafka answers.
async fn kafka_answers(probe: &Probe) {
    tokio::time::sleep(OUTAGE_AFTER).await;
    // A probe can meet the one broker that is away: the next one soon meets another.
    while probe.clone().check().await.is_err() {
        tokio::time::sleep(PROBE_AGAIN_AFTER).await;
    }
}

fn log_published(event: &Event, topic_prefix: &str) {
    // The line costs a tenth of the throughput of a backlog: "info,relay::published=off" saves it.
    info!(
        target: "relay::published",
        trace_id = event.trace_id(),
        event_id = %event.id,
        event_type = event.event_type,
        key = event.key(),
        topic = event.topic(topic_prefix),
        "published"
    );
}

fn settings(brokers: &Brokers, config: &PublisherConfig) -> ClientConfig {
    let mut settings = chassis::kafka::producer::settings(brokers, SERVICE);
    settings
        .set("linger.ms", config.linger_ms.to_string())
        // Never given up here: what is in flight during an outage arrives after it, in order.
        .set("message.timeout.ms", "0")
        .set("message.max.bytes", config.message_bytes_max.to_string())
        .set("queue.buffering.max.messages", EVENTS_MAX.to_string())
        // Headers and librdkafka's own come on top of the payloads.
        .set(
            "queue.buffering.max.kbytes",
            (BYTES_MAX / 1024 * 4).to_string(),
        );
    settings
}
