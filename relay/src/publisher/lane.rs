//! The producer of one topic: a topic that fails affects no other.
//!
//! What keeps an event from overtaking a refused one: after an error that would leave a gap the producer
//! sends nothing more ([`chassis::kafka::producer`]), and the broker refuses what was on its way already, because its sequence number does not
//! follow. But a broker takes the first request that it sees of a producer, whatever its number. So the
//! first event of each key goes alone, and once it is acknowledged those after it follow without waiting
//! for one another.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::time::{Duration, Instant};

use chassis::kafka::producer::{Message, OrderedProducer};
use chassis::{Backoff, TraceContext, spans};
use futures_util::FutureExt as _;
use outbox::Event;
use rdkafka::ClientConfig;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::DeliveryFuture;
use tokio_util::sync::CancellationToken;
use tracing::{Span, debug, info, warn};
use uuid::Uuid;

use super::failure::{Failure, classify};
use super::outcome::Outcome;
use crate::progress::Repeated;

/// How long acknowledgements may take before the log says that they are late, and the relay probes Kafka.
pub(super) const OUTAGE_AFTER: Duration = Duration::from_secs(2);

/// How often to check whether reports are still worth waiting for. A retry of a topic that has failed is waited for
/// once: the other topics wait that long for it.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long a stop waits for the acknowledgements of what is in flight; what is left comes again.
const STOP_GRACE: Duration = Duration::from_secs(4);

/// How long a topic may be without any report while Kafka works, before the others go on without it.
const SILENCE_MAX: Duration = Duration::from_secs(1);
const RETRY: Backoff = Backoff {
    first: Duration::from_millis(100),
    max: Duration::from_secs(5),
};

/// For how long a topic that has failed and is no longer asked for is remembered.
const REMEMBERED: Duration = Duration::from_secs(60);

/// An event and its index among those that are published together.
pub(super) type Indexed<'a> = (usize, &'a Event);

/// What all lanes share while events are published.
pub(super) struct Call<'a> {
    pub(super) settings: &'a ClientConfig,
    pub(super) epoch: &'a str,
    pub(super) stop: &'a CancellationToken,
    /// Cancelled once it is known that Kafka works: a topic that is silent is silent by itself.
    pub(super) kafka_works: &'a CancellationToken,
}

/// The producer of one topic.
#[derive(Default)]
pub(super) struct Lane {
    topic: String,
    failing_max: Duration,
    /// None before the first event and after a failure.
    producer: Option<OrderedProducer<DebugLogContext>>,
    /// In flight, and nobody waits for their reports. The lane takes nothing more until all reports are in.
    late: Vec<((i64, Uuid), Sent)>,
    /// Reports of events that were late, until somebody asks.
    known: HashMap<(i64, Uuid), Outcome>,
    /// Since when the topic fails, with errors that do not pass by themselves.
    failing_since: Option<Instant>,
    failures: u32,
    retry_at: Option<Instant>,
    outage: Repeated,
    noted: Option<Instant>,
}

impl Lane {
    pub(super) fn new(topic: String, failing_max: Duration) -> Self {
        Self {
            topic,
            failing_max,
            ..Self::default()
        }
    }

    /// Whether events can be sent now.
    pub(super) fn is_open(&self) -> bool {
        self.late.is_empty() && self.retry_at.is_none_or(|at| at <= Instant::now())
    }

    /// Whether nothing is lost with this lane.
    pub(super) fn is_forgettable(&self) -> bool {
        let is_recent = |at: Instant| at.elapsed() < REMEMBERED;
        self.late.is_empty() && !self.retry_at.is_some_and(is_recent)
    }

    /// Returns the outcome of an event whose report was late, once.
    pub(super) fn known(&mut self, row: (i64, Uuid)) -> Option<Outcome> {
        self.known.remove(&row)
    }

    /// Takes the reports that were late, if all of them are in by now.
    pub(super) async fn look(&mut self) {
        if self.late.is_empty() {
            return;
        }
        self.purge_if(false);
        for (_, sent) in &mut self.late {
            sent.resolve().now_or_never();
        }
        if self.late.iter().any(|(_, sent)| sent.is_waiting()) {
            self.is_silent();
            return;
        }
        let (rows, reports): (Vec<_>, Vec<_>) = std::mem::take(&mut self.late)
            .into_iter()
            .map(|(row, sent)| (row, sent.report()))
            .unzip();
        self.conclude(&reports, false).await;
        self.known.clear();
        for (row, report) in rows.into_iter().zip(reports) {
            self.known.insert(row, self.outcome(&report));
        }
    }

    /// The span of publishing `events`.
    pub(super) fn span(&self, events: &[Indexed<'_>]) -> Span {
        let traces = events
            .iter()
            .filter_map(|(_, event)| TraceContext::read(&event.traceparent, &event.tracestate));
        spans::send(&self.topic, events.len(), traces)
    }

    /// Publishes `events`; returns the outcome of each. Those whose reports are late are pending.
    pub(super) async fn publish(
        &mut self,
        events: Vec<Indexed<'_>>,
        call: &Call<'_>,
    ) -> Vec<(usize, Outcome)> {
        // The first event of each key alone, then those whose first one is acknowledged.
        let count = events.len();
        let mut seen = HashSet::new();
        let (first, rest): (Vec<Indexed<'_>>, Vec<Indexed<'_>>) = events
            .iter()
            .copied()
            .partition(|(_, event)| seen.insert(event.key()));
        let mut reports = self.send(&first, call).await;
        let following = follow(&first, &reports, rest);
        reports.extend(self.send(&following, call).await);
        let places = first.iter().chain(&following).map(|(place, _)| *place);
        let mut reports: HashMap<usize, Report> = places.zip(reports).collect();

        // From reports to outcomes: after the first event of a key that is not published, the others are pending.
        let mut outcomes = Vec::with_capacity(count);
        let mut stopped = HashSet::new();
        for (place, event) in events {
            let mut report = reports.remove(&place).unwrap_or(Report::NotSent);
            if stopped.contains(event.key()) {
                outcomes.push((place, Outcome::Pending));
                continue;
            }
            if report.is(Failure::Reject) && count > 1 {
                // Kafka refuses a whole request: alone, the innocent are taken. No time for that: nobody is
                // refused on suspicion.
                let alone = if call.stop.is_cancelled() || !self.late.is_empty() {
                    Vec::new()
                } else {
                    self.send(&[(place, event)], call).await
                };
                report = alone.into_iter().next().unwrap_or(Report::NotSent);
            }
            let outcome = self.outcome(&report);
            if outcome != Outcome::Published {
                stopped.insert(event.key());
            }
            outcomes.push((place, outcome));
        }
        if !stopped.is_empty() {
            spans::failed(&Span::current(), "not_published");
        }
        outcomes
    }

    /// Sends `events` one after the other and waits for the report of each, or until they are late.
    async fn send(&mut self, events: &[Indexed<'_>], call: &Call<'_>) -> Vec<Report> {
        if events.is_empty() {
            return Vec::new();
        }
        // Hand them over: after one that the producer does not take, none of its key.
        let mut stopped = HashSet::new();
        let mut sent = Vec::with_capacity(events.len());
        for (_, event) in events {
            if stopped.contains(event.key()) {
                sent.push(Sent::Known(Report::NotSent));
                continue;
            }
            match self.enqueue(event, call) {
                Ok(delivery) => sent.push(Sent::Waiting(delivery)),
                Err(report) => {
                    stopped.insert(event.key());
                    sent.push(Sent::Known(report));
                }
            }
        }
        // Wait. Late reports stay with the lane.
        self.settle(&mut sent, call).await;
        if sent.iter().any(Sent::is_waiting) {
            let rows = events.iter().map(|(_, event)| event.row());
            self.late = rows.zip(sent).collect();
            return events.iter().map(|_| Report::NotSent).collect();
        }
        let reports: Vec<Report> = sent.into_iter().map(Sent::report).collect();
        self.conclude(&reports, call.stop.is_cancelled()).await;
        reports
    }

    /// Hands `event` to the producer, which the first event after a failure opens.
    fn enqueue(&mut self, event: &Event, call: &Call<'_>) -> Result<DeliveryFuture, Report> {
        let producer = match self.producer.take() {
            Some(producer) => producer,
            None => OrderedProducer::new(call.settings, DebugLogContext).map_err(Report::Failed)?,
        };
        let producer = self.producer.insert(producer);
        let mut id = Uuid::encode_buffer();
        let id = event.id.hyphenated().encode_lower(&mut id);
        let seq = event.seq.to_string();
        let message = Message {
            topic: &self.topic,
            key: event.key(),
            headers: &event.headers(id, &seq, call.epoch),
            payload: &event.payload,
        };
        producer
            .enqueue(&message)
            .map_err(|error| match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::MessageSizeTooLarge) => Report::TooLarge(error),
                _ => Report::Failed(error),
            })
    }

    /// Waits until all reports are in, or until they are late: Kafka works, and the topic is silent. Gives up what is
    /// in flight some time after `stop`.
    async fn settle(&mut self, sent: &mut [Sent], call: &Call<'_>) {
        let begun = Instant::now();
        let is_trial = self.failures > 0;
        let mut stopped = None;
        let mut heard = (0, begun);
        loop {
            // All reports are in: done.
            let all = async {
                for sent in sent.iter_mut() {
                    sent.resolve().await;
                }
            };
            tokio::select! {
                biased;
                () = all => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            // Note progress and silence.
            let reports = sent.iter().filter(|sent| !sent.is_waiting()).count();
            if reports > heard.0 {
                heard = (reports, Instant::now());
            }
            if begun.elapsed() >= OUTAGE_AFTER {
                self.is_silent();
            }
            // Give up what a stop can't wait for, and what a producer that has failed will never report.
            if call.stop.is_cancelled() {
                stopped.get_or_insert_with(Instant::now);
            }
            let is_given_up = stopped.is_some_and(|stopped| stopped.elapsed() >= STOP_GRACE);
            let has_failed = sent.iter().any(Sent::has_failed);
            self.purge_if(is_given_up || has_failed);
            // Leave the reports of a silent topic for later.
            let is_silent = heard.1.elapsed() >= SILENCE_MAX && call.kafka_works.is_cancelled();
            if (is_trial || is_silent) && !has_failed && !call.stop.is_cancelled() {
                return;
            }
        }
    }

    /// Gives up what is in flight if that is wanted, and if the producer has failed: that one leaves some without a
    /// report for ever.
    fn purge_if(&self, is_wanted: bool) {
        if let Some(producer) = &self.producer
            && (is_wanted || producer.has_failed())
        {
            producer.purge();
        }
    }

    /// Updates the state of the lane by the reports of what was sent together. A producer that has failed sends nothing more
    /// and is dropped: nothing of it is in flight.
    async fn conclude(&mut self, reports: &[Report], is_stopping: bool) {
        let failure = reports.iter().find_map(|report| match report {
            Report::Failed(error) => Some(error),
            Report::Acknowledged | Report::TooLarge(_) | Report::NotSent => None,
        });
        let Some(error) = failure else {
            if reports
                .iter()
                .any(|report| matches!(report, Report::Acknowledged))
            {
                self.recovered();
            }
            return;
        };
        if !reports.iter().any(|report| report.is(Failure::Reject)) && !is_stopping {
            let now = Instant::now();
            self.failures += 1;
            self.retry_at = Some(now + RETRY.wait(self.failures));
            if reports.iter().any(|report| report.is(Failure::Topic)) {
                self.failing_since.get_or_insert(now);
            } else {
                self.failing_since = None;
            }
            self.is_away(&error.to_string());
        }
        if let Some(producer) = self.producer.take() {
            // Dropping joins its threads.
            if let Err(panic) = tokio::task::spawn_blocking(move || drop(producer)).await {
                warn!("closing a Kafka producer: {panic}");
            }
        }
    }

    fn outcome(&self, report: &Report) -> Outcome {
        match report {
            Report::Acknowledged => Outcome::Published,
            Report::TooLarge(error) => self.refused(error),
            Report::NotSent => Outcome::Pending,
            Report::Failed(error) => match classify(error) {
                Failure::Retry => Outcome::Pending,
                Failure::Reject => self.refused(error),
                Failure::Topic => match self.failing_since {
                    Some(since) if since.elapsed() >= self.failing_max => self.refused(error),
                    _ => Outcome::Pending,
                },
            },
        }
    }

    fn refused(&self, error: &KafkaError) -> Outcome {
        Outcome::Refused(format!("{error} ({})", self.topic))
    }

    fn is_silent(&mut self) {
        if self.noted.is_none_or(|last| last.elapsed() >= OUTAGE_AFTER) {
            self.noted = Some(Instant::now());
            self.is_away("acknowledgements do not come");
        }
    }

    fn is_away(&mut self, reason: &str) {
        if let Some(reason) = self.outage.happened(reason) {
            let topic = &self.topic;
            warn!(
                topic,
                "Kafka does not take events, they wait in the outbox: {reason}"
            );
        }
    }

    fn recovered(&mut self) {
        (self.failures, self.retry_at, self.failing_since) = (0, None, None);
        if let Some((failures, lasted)) = self.outage.end() {
            let (topic, seconds) = (&self.topic, lasted.as_secs());
            info!(topic, failures, seconds, "Kafka takes events again");
        }
    }
}

enum Sent {
    Waiting(DeliveryFuture),
    Known(Report),
}

impl Sent {
    /// May be dropped half-way.
    async fn resolve(&mut self) {
        if let Self::Waiting(delivery) = self {
            let report = match delivery.await {
                Ok(Ok(_)) => Report::Acknowledged,
                Ok(Err((error, _))) => {
                    metrics::counter!("relay_delivery_errors_total").increment(1);
                    Report::Failed(error)
                }
                Err(_) => Report::Failed(KafkaError::Canceled),
            };
            *self = Self::Known(report);
        }
    }

    const fn is_waiting(&self) -> bool {
        matches!(self, Self::Waiting(_))
    }

    const fn has_failed(&self) -> bool {
        matches!(self, Self::Known(Report::Failed(_)))
    }

    fn report(self) -> Report {
        match self {
            Self::Waiting(_) => Report::NotSent,
            Self::Known(report) => report,
        }
    }
}

/// Kafka's report of one event.
enum Report {
    Acknowledged,
    /// Never left this process.
    TooLarge(KafkaError),
    /// It, or another one in its request.
    Failed(KafkaError),
    /// An earlier one of its key was not taken, or its report is late.
    NotSent,
}

impl Report {
    fn is(&self, failure: Failure) -> bool {
        matches!(self, Self::Failed(error) if classify(error) == failure)
    }
}

/// Those of `rest` whose key's first event is acknowledged. None of them if the producer failed and was
/// dropped: the broker does not know the next producer. None of them if the reports are late.
fn follow<'a>(
    first: &[Indexed<'_>],
    reports: &[Report],
    mut rest: Vec<Indexed<'a>>,
) -> Vec<Indexed<'a>> {
    let mut blocked = HashSet::new();
    for ((_, event), report) in first.iter().zip(reports) {
        match report {
            Report::Acknowledged => {}
            Report::TooLarge(_) | Report::NotSent => {
                blocked.insert(event.key());
            }
            Report::Failed(_) => return Vec::new(),
        }
    }
    rest.retain(|(_, event)| !blocked.contains(event.key()));
    rest
}

/// librdkafka's own lines, one for each try to connect, are for debugging: the lane says when an
/// outage begins and when it ends.
struct DebugLogContext;

impl ClientContext for DebugLogContext {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, file: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        chassis::kafka::token(file)
    }

    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        debug!(target: "librdkafka", "{facility} {message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        debug!(target: "librdkafka", "{error}: {reason}");
    }
}
