//! Publishing to Kafka without an outbox.
//!
//! Promises: what is answered `Ok` was acknowledged by all replicas in sync; messages of one key arrive in
//! the order in which they were handed over, once each. Leaves to the caller: what to do when there is no
//! acknowledgement. The message may have arrived all the same.
//!
//! The producer is made by the first message: a process that only has the outbox never has one.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chassis::config::KafkaConfig;
use chassis::kafka::LogContext;
use chassis::kafka::producer::{self, OrderedProducer};
use events::header;
use outbox::NewEvent;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::DeliveryFuture;
use uuid::Uuid;

use crate::SERVICE;

/// Messages that may wait in a producer. One more is refused.
const MESSAGES_MAX: &str = "10000";

/// How often to look whether a report is still worth waiting for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why a message is not known to be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Too many wait already; this one was not taken.
    #[error("the Kafka producer's queue is full")]
    QueueFull,
    /// It may have been written, and may not.
    #[error("Kafka has not acknowledged the message")]
    NotAcknowledged(#[source] KafkaError),
}

/// What becomes of a message that Kafka does not acknowledge.
#[derive(Debug, Clone, Copy)]
pub enum Patience {
    /// It is given up after that long: somebody waits for an answer.
    Within(Duration),
    /// It waits for the end of the outage, and those behind it don't overtake it.
    Endless,
}

/// A message: all but its place in the topic.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) topic: &'static str,
    /// The `ce_id` header.
    pub(super) id: Uuid,
    /// The `ce_type` header.
    pub(super) message_type: &'static str,
    pub(super) key: String,
    pub(super) traceparent: String,
    pub(super) payload: String,
}

impl Message {
    /// What the relay would publish for `event`, but for the spaces in the payload.
    pub(super) fn event(event: NewEvent) -> Self {
        Self {
            topic: events::WALLET_TOPIC,
            id: event.id,
            message_type: event.event_type,
            key: event.aggregate_id,
            traceparent: event.traceparent,
            payload: event.payload.to_string(),
        }
    }
}

/// A producer.
pub struct Publisher {
    settings: ClientConfig,
    topic_prefix: String,
    /// None before the first message, and after a failure that a producer does not survive.
    producer: Mutex<Option<OrderedProducer<LogContext>>>,
    log: LogContext,
}

impl Publisher {
    /// Connects when there is a first message.
    #[must_use]
    pub fn new(kafka: &KafkaConfig, patience: Patience) -> Self {
        let give_up_after_ms = match patience {
            Patience::Within(time) => time.as_millis(),
            Patience::Endless => 0,
        };
        let mut settings = producer::settings(&kafka.kafka_brokers, SERVICE);
        settings
            .set("message.timeout.ms", give_up_after_ms.to_string())
            .set("queue.buffering.max.messages", MESSAGES_MAX);
        Self {
            settings,
            topic_prefix: kafka.topic_prefix.clone(),
            producer: Mutex::new(None),
            log: LogContext::of("publishing to Kafka"),
        }
    }

    /// Publishes `message` and waits for the acknowledgement, as long as the patience lasts.
    ///
    /// Dropped half-way, the message may still be published.
    pub(super) async fn publish(&self, message: &Message) -> Result<(), PublishError> {
        self.publish_all(std::slice::from_ref(message)).await
    }

    /// Publishes `messages` in their order, and waits for all acknowledgements. The first error stands for
    /// all: some of them may be published.
    pub(super) async fn publish_all(&self, messages: &[Message]) -> Result<(), PublishError> {
        let mut sent = Vec::with_capacity(messages.len());
        for message in messages {
            let delivery = self.enqueue(message);
            let refused = delivery.is_err();
            sent.push(delivery);
            if refused {
                // None of those behind it may overtake it.
                break;
            }
        }
        let mut result = Ok(());
        for delivery in sent {
            let outcome = match delivery {
                Ok(delivery) => self.acknowledged(delivery).await,
                Err(error) => Err(error),
            };
            count(&outcome);
            result = result.and(outcome);
        }
        if result.is_err() {
            self.discard_if_dead();
        }
        result
    }

    fn enqueue(&self, message: &Message) -> Result<DeliveryFuture, PublishError> {
        let id = message.id.to_string();
        let headers = [
            (header::ID, id.as_str()),
            (header::TYPE, message.message_type),
            (header::SOURCE, SERVICE),
            (header::SPECVERSION, "1.0"),
            (header::CONTENT_TYPE, "application/json"),
            (header::TRACEPARENT, message.traceparent.as_str()),
        ];
        let topic = format!("{}{}", self.topic_prefix, message.topic);
        let producer = self.producer().map_err(PublishError::NotAcknowledged)?;
        let message = producer::Message {
            topic: &topic,
            key: &message.key,
            headers: &headers,
            payload: &message.payload,
        };
        producer
            .enqueue(&message)
            .map_err(|error| match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::QueueFull) => PublishError::QueueFull,
                _ => PublishError::NotAcknowledged(error),
            })
    }

    /// Looks from time to time whether the producer is still alive: a dead one may never report.
    async fn acknowledged(&self, mut delivery: DeliveryFuture) -> Result<(), PublishError> {
        loop {
            match tokio::time::timeout(LOOK_EVERY, &mut delivery).await {
                Ok(Ok(Ok(_))) => {
                    self.log.errors().succeeded();
                    return Ok(());
                }
                Ok(Ok(Err((error, _)))) => return Err(PublishError::NotAcknowledged(error)),
                Ok(Err(_)) => return Err(PublishError::NotAcknowledged(KafkaError::Canceled)),
                Err(_) => self.discard_if_dead(),
            }
        }
    }

    fn producer(&self) -> Result<OrderedProducer<LogContext>, KafkaError> {
        let mut producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(producer) = &*producer {
            return Ok(producer.clone());
        }
        let made = OrderedProducer::new(&self.settings, self.log.clone())?;
        Ok(producer.insert(made).clone())
    }

    /// An idempotent producer may fail for good; the next message makes another one.
    fn discard_if_dead(&self) {
        let mut producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        let dead = producer.take_if(|producer| producer.has_failed());
        drop(producer);
        if let Some(dead) = dead {
            // Dropping fails what it has in hand, and joins its thread.
            drop(tokio::task::spawn_blocking(move || drop(dead)));
        }
    }
}

fn count(outcome: &Result<(), PublishError>) {
    let label = match outcome {
        Ok(()) => "ok",
        Err(PublishError::QueueFull | PublishError::NotAcknowledged(_)) => "failed",
    };
    metrics::counter!("wallet_publishes_total", "outcome" => label).increment(1);
}
