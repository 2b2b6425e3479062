//! Publishing to Kafka: what is acknowledged, what is refused for good, what has to wait.
//!
//! Promises: events of one key arrive in the order given, and none arrives that stands behind an event
//! that did not; an outage is waited out, however long. Leaves to the caller: deleting, trying again,
//! and what to do about a refused event.
//!
//! What keeps an event from overtaking a refused one: after an error that would leave a gap the producer
//! sends nothing more (`enable.gapless.guarantee`: without it, librdkafka numbers what it has left anew and
//! sends it), and the broker refuses what was on its way already, because its sequence number does not
//! follow. But a broker takes the first request that it sees of a producer, whatever its number. So the
//! first event of each key goes alone, and once it is acknowledged those behind it follow without waiting
//! for one another.

mod failure;
mod outcome;

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use chassis::config::KafkaConfig;
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _, PurgeConfig};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::failure::{Failure, classify};
pub use self::outcome::{Outcome, Refusal, Sorted};
use crate::SERVICE;
use crate::config::PublisherConfig;
use crate::event::Event;

/// How long acknowledgements may take before the log says that they do not come.
const OUTAGE_AFTER: Duration = Duration::from_secs(2);

/// How often to look whether reports are still worth waiting for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long a stop waits for the acknowledgements of what is in flight; what is left comes again.
const STOP_GRACE: Duration = Duration::from_secs(4);

/// Events published at once at the most: what the producer's queue has room for.
pub const EVENTS_MAX: usize = 100_000;

/// Bytes of them at the most, about.
pub const BYTES_MAX: usize = 64 * 1024 * 1024;

/// An event and its place among those that are published together.
type Placed<'a> = (usize, &'a Event);

/// A producer.
pub struct Publisher {
    settings: ClientConfig,
    topic_prefix: String,
    producer: FutureProducer<Quiet>,
    /// Since when Kafka takes nothing, and the reason that the log has.
    outage: Option<(Instant, String)>,
}

impl Publisher {
    /// Connects in the background.
    ///
    /// # Errors
    /// The settings do not make a producer.
    pub fn new(kafka: &KafkaConfig, config: &PublisherConfig) -> anyhow::Result<Self> {
        let settings = settings(kafka, config);
        let producer = open(&settings).context("making a Kafka producer")?;
        Ok(Self {
            settings,
            topic_prefix: kafka.topic_prefix.clone(),
            producer,
            outage: None,
        })
    }

    /// Publishes `events`, at most [`EVENTS_MAX`] and about [`BYTES_MAX`], and waits until the fate of
    /// each is known; answers for each, in order. During an outage that takes as long as the outage,
    /// or until a few seconds after `stop`.
    ///
    /// Not to be dropped half-way: events would still be in flight.
    pub async fn publish(&mut self, events: &[Event], stop: &CancellationToken) -> Vec<Outcome> {
        let mut seen = HashSet::new();
        let (first, behind): (Vec<Placed<'_>>, Vec<Placed<'_>>) = events
            .iter()
            .enumerate()
            .partition(|(_, event)| seen.insert(event.key()));
        let mut reports = self.send(&first, stop).await;
        let following = follow(&first, &reports, behind);
        reports.extend(self.send(&following, stop).await);
        let places = first.iter().chain(&following).map(|(place, _)| *place);
        let mut reports: HashMap<usize, Report> = places.zip(reports).collect();

        let mut outcomes = Vec::with_capacity(events.len());
        let mut stopped = HashSet::new();
        for (place, event) in events.iter().enumerate() {
            let mut report = reports.remove(&place).unwrap_or(Report::NotSent);
            if stopped.contains(event.key()) {
                outcomes.push(Outcome::Pending);
                continue;
            }
            if report.is_reject() && events.len() > 1 {
                // Kafka refuses a whole request: alone, the innocent are taken. No time for that: nobody is
                // refused on suspicion.
                let alone = if stop.is_cancelled() {
                    Vec::new()
                } else {
                    self.send(&[(place, event)], stop).await
                };
                report = alone.into_iter().next().unwrap_or(Report::NotSent);
            }
            let outcome = match report {
                Report::Acknowledged => self.published(event),
                Report::TooLarge(error) => self.refused(event, &error),
                Report::Failed(error) => match classify(&error) {
                    Failure::Reject => self.refused(event, &error),
                    Failure::Retry => Outcome::Pending,
                },
                Report::NotSent => Outcome::Pending,
            };
            if outcome != Outcome::Published {
                stopped.insert(event.key());
            }
            outcomes.push(outcome);
        }
        outcomes
    }

    /// Sends `events` one behind the other and waits for the report of each. A producer that failed is
    /// replaced: it sends nothing more.
    async fn send(&mut self, events: &[Placed<'_>], stop: &CancellationToken) -> Vec<Report> {
        if events.is_empty() {
            return Vec::new();
        }
        let mut stopped = HashSet::new();
        let mut sent = Vec::with_capacity(events.len());
        for (_, event) in events {
            if stopped.contains(event.key()) {
                sent.push(Err(Report::NotSent));
                continue;
            }
            let delivery = self.enqueue(event);
            if delivery.is_err() {
                stopped.insert(event.key());
            }
            sent.push(delivery);
        }
        let reports = async {
            let mut reports = Vec::with_capacity(sent.len());
            for delivery in sent {
                reports.push(match delivery {
                    Ok(delivery) => report(delivery).await,
                    Err(report) => report,
                });
            }
            reports
        };
        let reports = self.settle(reports, stop).await;
        let failure = events.iter().zip(&reports).find_map(|failed| match failed {
            ((_, event), Report::Failed(error)) => Some((event, error)),
            (_, Report::Acknowledged | Report::TooLarge(_) | Report::NotSent) => None,
        });
        match failure {
            None => self.outage_ends(),
            Some((event, error)) => {
                if !reports.iter().any(Report::is_reject) && !stop.is_cancelled() {
                    let topic = event.topic(&self.topic_prefix);
                    self.outage_begins(format!("{error} ({topic})"));
                }
                self.reopen().await;
            }
        }
        reports
    }

    /// Hands `event` to the producer. Never `FutureProducer::send`: that one waits when the queue is
    /// full, and then events overtake one another.
    fn enqueue(&self, event: &Event) -> Result<DeliveryFuture, Report> {
        let mut id = uuid::Uuid::encode_buffer();
        let id = event.id.hyphenated().encode_lower(&mut id);
        let seq = event.seq.to_string();
        let headers = event.headers(id, &seq);
        let headers = headers.iter().fold(
            OwnedHeaders::new_with_capacity(headers.len()),
            |headers, (key, value)| {
                headers.insert(Header {
                    key,
                    value: Some(*value),
                })
            },
        );
        let topic = event.topic(&self.topic_prefix);
        let record = FutureRecord::to(&topic)
            .key(event.key())
            .headers(headers)
            .payload(event.payload.as_str());
        self.producer
            .send_result(record)
            .map_err(|(error, _)| match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::MessageSizeTooLarge) => Report::TooLarge(error),
                _ => Report::Failed(error),
            })
    }

    /// Waits for `reports`; says so when they do not come. Gives up what is in flight some time after
    /// `stop`, and at once if the producer has failed: that one leaves some without a report for ever.
    async fn settle<T>(&mut self, reports: impl Future<Output = T>, stop: &CancellationToken) -> T {
        let mut reports = pin!(reports);
        let begun = Instant::now();
        let mut stopped = None;
        loop {
            tokio::select! {
                biased;
                reports = &mut reports => return reports,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            if begun.elapsed() >= OUTAGE_AFTER && self.outage.is_none() {
                self.outage_begins("acknowledgements do not come".to_owned());
            }
            if stop.is_cancelled() {
                stopped.get_or_insert_with(Instant::now);
            }
            let given_up = stopped.is_some_and(|stopped| stopped.elapsed() >= STOP_GRACE);
            if given_up || self.producer.client().fatal_error().is_some() {
                self.producer
                    .purge(PurgeConfig::default().queue().inflight());
            }
        }
    }

    /// Replaces the producer. All reports are in: the old one has nothing in flight.
    async fn reopen(&mut self) {
        match open(&self.settings) {
            Ok(producer) => {
                let old = std::mem::replace(&mut self.producer, producer);
                // Dropping joins its threads.
                if let Err(panic) = tokio::task::spawn_blocking(move || drop(old)).await {
                    warn!("closing a Kafka producer: {panic}");
                }
            }
            Err(error) => warn!("replacing a Kafka producer: {error}"),
        }
    }

    /// Says so once, not at every try.
    fn outage_begins(&mut self, reason: String) {
        let begun = match self.outage.take() {
            Some((begun, known)) if known == reason => begun,
            other => {
                warn!("Kafka does not take events, they wait in the outbox: {reason}");
                other.map_or_else(Instant::now, |(begun, _)| begun)
            }
        };
        self.outage = Some((begun, reason));
    }

    fn outage_ends(&mut self) {
        if let Some((begun, _)) = self.outage.take() {
            let seconds = begun.elapsed().as_secs();
            info!(seconds, "Kafka takes events again");
        }
    }

    fn published(&self, event: &Event) -> Outcome {
        // Costs a tenth of the throughput of a backlog: "info,relay::published=off" saves it.
        info!(
            target: "relay::published",
            trace_id = event.trace_id(),
            event_id = %event.id,
            event_type = event.event_type,
            key = event.key(),
            topic = event.topic(&self.topic_prefix),
            "published"
        );
        Outcome::Published
    }

    fn refused(&self, event: &Event, error: &KafkaError) -> Outcome {
        let topic = event.topic(&self.topic_prefix);
        Outcome::Refused(format!("{error} ({topic})"))
    }
}

/// What Kafka says of one event.
enum Report {
    Acknowledged,
    /// Never left this process.
    TooLarge(KafkaError),
    /// It, or one of those it travelled with.
    Failed(KafkaError),
    /// It stands behind one of its key that was not taken.
    NotSent,
}

impl Report {
    fn is_reject(&self) -> bool {
        matches!(self, Self::Failed(error) if classify(error) == Failure::Reject)
    }
}

/// Those of `behind` whose key's first event is acknowledged. None of them if the producer failed and was
/// replaced: the broker does not know the new one.
fn follow<'a>(
    first: &[Placed<'_>],
    reports: &[Report],
    mut behind: Vec<Placed<'a>>,
) -> Vec<Placed<'a>> {
    let mut held_up = HashSet::new();
    for ((_, event), report) in first.iter().zip(reports) {
        match report {
            Report::Acknowledged => {}
            Report::TooLarge(_) | Report::NotSent => {
                held_up.insert(event.key());
            }
            Report::Failed(_) => return Vec::new(),
        }
    }
    behind.retain(|(_, event)| !held_up.contains(event.key()));
    behind
}

async fn report(delivery: DeliveryFuture) -> Report {
    match delivery.await {
        Ok(Ok(_)) => Report::Acknowledged,
        Ok(Err((error, _))) => {
            metrics::counter!("relay_delivery_errors_total").increment(1);
            Report::Failed(error)
        }
        Err(_) => Report::Failed(KafkaError::Canceled),
    }
}

fn settings(kafka: &KafkaConfig, config: &PublisherConfig) -> ClientConfig {
    let mut settings = chassis::kafka::client(&kafka.kafka_brokers, SERVICE);
    settings
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("enable.gapless.guarantee", "true")
        // What the Java clients do, Kafka Connect among them: another mode finds the same partition.
        .set("partitioner", "murmur2_random")
        .set("compression.codec", "lz4")
        .set("linger.ms", config.linger_ms.to_string())
        // Never given up here: what is in flight during an outage arrives after it, in order.
        .set("message.timeout.ms", "0")
        // A topic that is not there: those of other topics don't wait for it for long.
        .set("topic.metadata.propagation.max.ms", "5000")
        .set("message.max.bytes", config.message_bytes_max.to_string())
        .set("queue.buffering.max.messages", EVENTS_MAX.to_string())
        // Headers and librdkafka's own are beside the payloads.
        .set(
            "queue.buffering.max.kbytes",
            (BYTES_MAX / 1024 * 4).to_string(),
        );
    settings
}

fn open(settings: &ClientConfig) -> Result<FutureProducer<Quiet>, KafkaError> {
    settings.create_with_context(Quiet)
}

/// librdkafka's own lines, one for each try to connect, are for debugging: the publisher says when an
/// outage begins and when it ends.
struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        debug!(target: "librdkafka", "{facility} {message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        debug!(target: "librdkafka", "{error}: {reason}");
    }
}
