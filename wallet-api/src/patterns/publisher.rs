//! Publishing to Kafka without an outbox.
//!
//! Promises: after `Ok` all in-sync replicas have acknowledged the message; messages of one key arrive in
//! the order in which they were handed over, once each. Leaves to the caller: what to do without an
//! acknowledgement. The message may have arrived nevertheless.
//!
//! The first message creates the producer: a process that only has the outbox never has one.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chassis::config::KafkaConfig;
use chassis::kafka::producer::{self, OrderedProducer};
use chassis::kafka::{LogContext, SettingError};
use events::header;
use outbox::NewEvent;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::DeliveryFuture;
use uuid::Uuid;

use crate::SERVICE;

/// Messages that may wait in a producer, at most; one more is refused.
const MESSAGES_MAX: &str = "10000";

/// How often to look whether the producer is still alive while a report is awaited.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A message is not known to be published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Too many messages wait; this one was not taken.
    #[error("the Kafka producer's queue is full")]
    QueueFull,
    /// The message may have been written, or not.
    #[error("Kafka has not acknowledged the message")]
    NotAcknowledged(#[source] KafkaError),
}

/// When the producer gives up a message that Kafka does not acknowledge.
#[derive(Debug, Clone, Copy)]
pub enum MessageTimeout {
    /// Somebody waits for an answer.
    After(Duration),
    /// The message waits for the end of the outage, and the next ones don't overtake it.
    Never,
}

#[derive(Debug)]
pub(super) struct Message {
    pub(super) topic: &'static str,
    /// The `ce_id` header.
    pub(super) id: Uuid,
    /// The `ce_type` header.
    pub(super) message_type: &'static str,
    pub(super) key: String,
    pub(super) traceparent: String,
    pub(super) tracestate: String,
    pub(super) payload: String,
}

impl Message {
    /// The message that the relay would publish for `event`, but for the spaces in the payload.
    pub(super) fn event(event: NewEvent) -> Self {
        Self {
            topic: events::WALLET_TOPIC,
            id: event.id,
            message_type: event.event_type,
            key: event.aggregate_id,
            traceparent: event.traceparent,
            tracestate: event.tracestate,
            payload: event.payload.to_string(),
        }
    }
}

pub struct Publisher {
    settings: ClientConfig,
    topic_prefix: String,
    /// None before the first message, and after a failure that a producer does not survive.
    producer: Mutex<Option<OrderedProducer<LogContext>>>,
    log: LogContext,
}

impl Publisher {
    /// # Errors
    /// A setting of Kafka's clients can't be obeyed.
    pub fn new(kafka: &KafkaConfig, timeout: MessageTimeout) -> Result<Self, SettingError> {
        let give_up_after_ms = match timeout {
            MessageTimeout::After(time) => time.as_millis(),
            MessageTimeout::Never => 0,
        };
        let mut settings = producer::settings(&kafka.brokers()?, SERVICE);
        settings
            .set("message.timeout.ms", give_up_after_ms.to_string())
            .set("queue.buffering.max.messages", MESSAGES_MAX);
        Ok(Self {
            settings,
            topic_prefix: kafka.topic_prefix.clone(),
            producer: Mutex::new(None),
            log: LogContext::of("publishing to Kafka"),
        })
    }

    /// Publishes `message` and waits for the acknowledgement until the timeout.
    ///
    /// Dropped half-way, the message may still be published.
    pub(super) async fn publish(&self, message: &Message) -> Result<(), PublishError> {
        self.publish_all(std::slice::from_ref(message)).await
    }

    /// Publishes `messages` in their order, and waits for all acknowledgements. After an error some of them
    /// may be published.
    pub(super) async fn publish_all(&self, messages: &[Message]) -> Result<(), PublishError> {
        let mut sent = Vec::with_capacity(messages.len());
        for message in messages {
            let delivery = self.enqueue(message);
            let refused = delivery.is_err();
            sent.push((message.topic, delivery));
            if refused {
                // None of the next messages may overtake it.
                break;
            }
        }
        let mut result = Ok(());
        for (topic, delivery) in sent {
            let outcome = match delivery {
                Ok(delivery) => self.acknowledged(delivery).await,
                Err(error) => Err(error),
            };
            count(topic, &outcome);
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
            (header::TRACESTATE, message.tracestate.as_str()),
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

    /// Waits for a report, and looks from time to time whether the producer is still alive: a dead one may never report.
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

    /// An idempotent producer may fail for good; the next message creates another one.
    fn discard_if_dead(&self) {
        let mut producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        let dead = producer.take_if(|producer| producer.has_failed());
        drop(producer);
        if let Some(dead) = dead {
            // Dropping fails its messages, and joins its thread.
            drop(tokio::task::spawn_blocking(move || drop(dead)));
        }
    }
}

fn count(topic: &'static str, outcome: &Result<(), PublishError>) {
    let label = match outcome {
        Ok(()) => "ok",
        Err(PublishError::QueueFull | PublishError::NotAcknowledged(_)) => "failed",
    };
    metrics::counter!("wallet_publishes_total", "topic" => topic, "outcome" => label).increment(1);
}
