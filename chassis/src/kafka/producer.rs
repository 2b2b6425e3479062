//! A producer that keeps the order in which it is handed messages, and writes each once.

use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer as _, PurgeConfig};
use rdkafka::{ClientConfig, ClientContext};

use super::Brokers;

/// The settings of every producer. What a service adds: how long a message waits for its acknowledgement, and how many
/// messages wait at most.
#[must_use]
pub fn settings(brokers: &Brokers, client_id: &str) -> ClientConfig {
    let mut settings = super::client(brokers, client_id);
    settings
        .set("acks", "all")
        .set("enable.idempotence", "true")
        // After an error that would leave a gap the producer sends nothing more: without this, librdkafka gives what
        // it has left new numbers and sends it.
        .set("enable.gapless.guarantee", "true")
        // What the Java clients do, Kafka Connect among them: whoever publishes, a key has one partition.
        .set("partitioner", "murmur2_random")
        .set("compression.codec", "lz4")
        .set("linger.ms", "1")
        // A topic that is missing: one that is created within this time is found at once, a later one by the next
        // message.
        .set("topic.metadata.propagation.max.ms", "5000");
    // What a service adds is not among what can be set by environment.
    brokers.override_in(&mut settings);
    settings
}

/// What is handed to a producer.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// With its prefix.
    pub topic: &'a str,
    /// Messages of one key keep their order.
    pub key: &'a str,
    /// Names and values, in order.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub payload: &'a str,
}

/// A producer made of [`settings`].
#[derive(Clone)]
pub struct OrderedProducer<C: ClientContext + 'static>(FutureProducer<C>);

impl<C: ClientContext + 'static> OrderedProducer<C> {
    /// Connects in the background.
    ///
    /// # Errors
    /// The settings do not make a client.
    pub fn new(settings: &ClientConfig, context: C) -> KafkaResult<Self> {
        settings.create_with_context(context).map(Self)
    }

    /// Hands `message` over and does not wait: the future is its report.
    ///
    /// Not `FutureProducer::send`: that one waits when the queue is full, and then messages overtake one another.
    ///
    /// # Errors
    /// The producer did not take the message: its queue is full, the message is too large, or the producer has failed.
    pub fn enqueue(&self, message: &Message<'_>) -> Result<DeliveryFuture, KafkaError> {
        let headers = OwnedHeaders::new_with_capacity(message.headers.len());
        let headers = message
            .headers
            .iter()
            .fold(headers, |headers, (key, value)| {
                let value = Some(*value);
                headers.insert(Header { key, value })
            });
        let record = FutureRecord::to(message.topic)
            .key(message.key)
            .headers(headers)
            .payload(message.payload);
        self.0.send_result(record).map_err(|(error, _)| error)
    }

    /// Whether the producer has failed for good, as an idempotent one may: it sends nothing more, and may leave some
    /// messages without a report. Another one has to take its place.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.0.client().fatal_error().is_some()
    }

    /// Gives up whatever has no report yet: each gets one soon.
    pub fn purge(&self) {
        self.0.purge(PurgeConfig::default().queue().inflight());
    }
}
