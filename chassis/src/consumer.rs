//! The Kafka consumer loop: a batch, its effect committed, then its offsets.
//!
//! Promises: no offset is committed before the effect of its record is; a record is handed over again
//! after a crash, so handlers take each event once; a record that can never be taken does not hold up
//! its partition. Leaves to the handler: the transaction, deduplication and the dead letter.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::FutureExt as _;
use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{Backoff, kafka, telemetry};

/// A message of a topic, by value.
#[derive(Debug, Clone)]
pub struct Record {
    /// Where it was read.
    pub topic: String,
    /// Where it was read.
    pub partition: i32,
    /// Where it was read.
    pub offset: i64,
    /// The key's bytes.
    pub key: Option<Vec<u8>>,
    /// The headers in order; values that are not UTF-8 are made so, lossily.
    pub headers: Vec<(String, String)>,
    /// The payload's bytes.
    pub payload: Option<Vec<u8>>,
}

impl Record {
    /// The first header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(key, _)| key == name)?;
        Some(value)
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.topic, self.partition, self.offset)
    }
}

impl From<&BorrowedMessage<'_>> for Record {
    fn from(message: &BorrowedMessage<'_>) -> Self {
        let headers = message.headers().map_or_else(Vec::new, |headers| {
            headers
                .iter()
                .map(|header| {
                    let value = String::from_utf8_lossy(header.value.unwrap_or_default());
                    (header.key.to_owned(), value.into_owned())
                })
                .collect()
        });
        Self {
            topic: message.topic().to_owned(),
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().map(<[u8]>::to_vec),
            headers,
            payload: message.payload().map(<[u8]>::to_vec),
        }
    }
}

/// Why a batch has had no effect.
#[derive(Debug, thiserror::Error)]
pub enum HandleError {
    /// It may pass: the same batch will be handed over again.
    #[error("may pass")]
    Retry(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A record of the batch never will be taken: its records will be handed over one by one, and
    /// the guilty one to [`Handler::reject`].
    #[error("will not pass")]
    Reject(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<diesel::result::Error> for HandleError {
    fn from(error: diesel::result::Error) -> Self {
        match crate::database::classify(&error) {
            crate::database::Failure::Retry => Self::Retry(error.into()),
            crate::database::Failure::Reject => Self::Reject(error.into()),
        }
    }
}

impl From<crate::database::PoolError> for HandleError {
    fn from(error: crate::database::PoolError) -> Self {
        Self::Retry(error.into())
    }
}

/// What a service does with the records of its topics.
pub trait Handler: Send {
    /// Commits the effect of `batch`, all of it or nothing. Returning `Ok` lets the offsets be committed.
    fn handle(&mut self, batch: &[Record]) -> impl Future<Output = Result<(), HandleError>> + Send;

    /// Puts a record aside that can never be taken, durably.
    fn reject(
        &mut self,
        record: &Record,
        reason: &str,
    ) -> impl Future<Output = Result<(), HandleError>> + Send;
}

/// Settings of a consumer.
#[derive(Debug, Clone)]
pub struct ConsumerConfig {
    /// Bootstrap servers.
    pub brokers: String,
    /// The group whose members share the partitions.
    pub group: String,
    /// What to read.
    pub topic: String,
    /// Records of a batch at the most: the size of one transaction.
    pub batch_records_max: usize,
}

/// How long a member may be silent before its partitions go to others. Kafka's default, 45 s, is how
/// long a killed consumer's partitions would stand still; 6 s is the least a broker allows by default.
const SESSION_TIMEOUT_MS: &str = "6000";

/// How often to say that the broker is away.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// How long to wait before a batch that failed is tried again.
const RETRY: Backoff = Backoff {
    first: Duration::from_millis(100),
    max: Duration::from_secs(5),
};

/// A member of a consumer group, with the handler of its records.
pub struct Consumer<H> {
    stream: StreamConsumer,
    config: ConsumerConfig,
    handler: H,
    /// When an error was reported last.
    reported: Option<Instant>,
}

impl<H: Handler> Consumer<H> {
    /// Joins the group in the background.
    ///
    /// # Errors
    /// The settings do not make a consumer.
    pub fn new(config: ConsumerConfig, handler: H) -> anyhow::Result<Self> {
        let stream: StreamConsumer = kafka::client(&config.brokers, &config.group)
            .set("group.id", &config.group)
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("partition.assignment.strategy", "range")
            .set("session.timeout.ms", SESSION_TIMEOUT_MS)
            .set("heartbeat.interval.ms", "2000")
            .set("fetch.wait.max.ms", "100")
            // What may wait in memory, of all partitions together.
            .set("queued.max.messages.kbytes", "16384")
            .create()
            .context("making a Kafka consumer")?;
        stream
            .subscribe(&[&config.topic])
            .with_context(|| format!("subscribing to {}", config.topic))?;
        Ok(Self {
            stream,
            config,
            handler,
            reported: None,
        })
    }

    /// Takes batches until `stop`; whatever fails is tried again.
    ///
    /// # Errors
    /// None: the signature is that of a service's task.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut failures = 0;
        while !stop.is_cancelled() {
            match self.run_once(&stop).await {
                Ok(_) => failures = 0,
                Err(error) => {
                    failures += 1;
                    let wait = RETRY.wait(failures);
                    warn!(topic = self.config.topic, ?wait, "consuming: {error:#}");
                    stop.run_until_cancelled(tokio::time::sleep(wait)).await;
                }
            }
        }
        Ok(())
    }

    /// Waits for a record, takes it together with those that have arrived behind it, commits their
    /// effect and then their offsets, and returns how many they were; none if `stop` came first.
    ///
    /// # Errors
    /// The effect is committed, the offsets are not: after a restart the records come again.
    pub async fn run_once(&mut self, stop: &CancellationToken) -> anyhow::Result<usize> {
        let Some(first) = stop.run_until_cancelled(self.next()).await else {
            return Ok(0);
        };
        let mut batch = vec![first];
        while batch.len() < self.config.batch_records_max {
            match self.stream.recv().now_or_never() {
                Some(Ok(message)) => batch.push(Record::from(&message)),
                // librdkafka goes on by itself. This batch first.
                Some(Err(_)) | None => break,
            }
        }
        match take(&mut self.handler, &batch, stop).await {
            Taken::All => {}
            Taken::Stopped => return Ok(0),
        }
        self.commit(&batch)?;
        let records = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        metrics::counter!("kafka_consumer_records_total", "topic" => self.config.topic.clone())
            .increment(records);
        debug!(topic = self.config.topic, records, "batch taken");
        Ok(batch.len())
    }

    /// The next record. What goes wrong meanwhile is only reported, and not waited for: librdkafka tries again by
    /// itself, and says so at each try, ten times a second. With a wait for each, records would stand still for many
    /// minutes after a minute without a broker. May be dropped half-way.
    async fn next(&mut self) -> Record {
        loop {
            match self.stream.recv().await {
                Ok(message) => return Record::from(&message),
                Err(error) => {
                    metrics::counter!("kafka_consumer_errors_total", "topic" => self.config.topic.clone())
                        .increment(1);
                    if self.reported.is_none_or(|at| at.elapsed() >= REPORT_EVERY) {
                        self.reported = Some(Instant::now());
                        warn!(topic = self.config.topic, "waiting for a record: {error}");
                    }
                }
            }
        }
    }

    fn commit(&self, batch: &[Record]) -> anyhow::Result<()> {
        let mut next = HashMap::new();
        for record in batch {
            // Records of a partition come in order: the last one stands.
            next.insert(record.partition, record.offset + 1);
        }
        let mut offsets = TopicPartitionList::new();
        for (partition, offset) in next {
            offsets
                .add_partition_offset(&self.config.topic, partition, Offset::Offset(offset))
                .context("making the list of offsets")?;
        }
        // Not awaited: an offset that is not committed is a redelivery, which the inbox absorbs.
        self.stream
            .commit(&offsets, CommitMode::Async)
            .context("committing offsets")
    }
}

#[must_use]
enum Taken {
    All,
    Stopped,
}

/// Hands `batch` over until it is taken or `stop` comes.
async fn take<H: Handler>(handler: &mut H, batch: &[Record], stop: &CancellationToken) -> Taken {
    let mut failures = 0;
    loop {
        let error = match (handler.handle(batch).await, batch) {
            (Ok(()), _) => return Taken::All,
            (Err(HandleError::Retry(error)), _) => error,
            (Err(HandleError::Reject(error)), [record]) => {
                let reason = telemetry::chain(&*error);
                warn!(%record, "dead letter: {reason}");
                match handler.reject(record, &reason).await {
                    Ok(()) => return Taken::All,
                    Err(HandleError::Retry(error) | HandleError::Reject(error)) => error,
                }
            }
            (Err(HandleError::Reject(error)), _) => {
                warn!(
                    records = batch.len(),
                    "taking a batch one by one: {}",
                    telemetry::chain(&*error)
                );
                for record in batch {
                    match Box::pin(take(handler, std::slice::from_ref(record), stop)).await {
                        Taken::All => {}
                        Taken::Stopped => return Taken::Stopped,
                    }
                }
                return Taken::All;
            }
        };
        failures += 1;
        let wait = RETRY.wait(failures);
        warn!(?wait, "taking a batch: {}", telemetry::chain(&*error));
        if stop
            .run_until_cancelled(tokio::time::sleep(wait))
            .await
            .is_none()
        {
            return Taken::Stopped;
        }
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{DefaultProducerContext, FutureProducer, FutureRecord};
    use tokio::time::timeout;

    use super::*;

    const TOPIC: &str = "t";

    /// Errors of an outage of some seconds.
    const ERRORS: usize = 25;

    struct Nobody;

    impl Handler for Nobody {
        async fn handle(&mut self, _: &[Record]) -> Result<(), HandleError> {
            Ok(())
        }

        async fn reject(&mut self, _: &Record, _: &str) -> Result<(), HandleError> {
            Ok(())
        }
    }

    fn consumer(brokers: &str, group: &str) -> Consumer<Nobody> {
        let config = ConsumerConfig {
            brokers: brokers.to_owned(),
            group: group.to_owned(),
            topic: TOPIC.to_owned(),
            batch_records_max: 10,
        };
        Consumer::new(config, Nobody).unwrap()
    }

    async fn publish(producer: &FutureProducer) {
        let record = FutureRecord::to(TOPIC).key("k").payload("p");
        producer.send(record, Duration::from_secs(5)).await.unwrap();
    }

    async fn next(consumer: &mut Consumer<Nobody>) -> Record {
        let next = timeout(Duration::from_secs(20), consumer.next());
        next.await.expect("a record comes in time")
    }

    #[tokio::test]
    async fn records_come_soon_after_the_broker_was_away_for_long() {
        let broker: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
        broker.create_topic(TOPIC, 1, 1).unwrap();
        let brokers = broker.bootstrap_servers();
        let producer: FutureProducer = kafka::client(&brokers, "test").create().unwrap();
        let mut tested = consumer(&brokers, "tested");
        // Another one in the same state: what it is told waits for the first.
        let mut observer = consumer(&brokers, "observer");
        publish(&producer).await;
        assert_eq!(next(&mut tested).await.offset, 0);
        assert_eq!(next(&mut observer).await.offset, 0);

        broker.broker_down(1).unwrap();
        let errors = async {
            let mut errors = 0;
            while errors < ERRORS {
                errors += usize::from(observer.stream.recv().await.is_err());
            }
        };
        timeout(Duration::from_secs(60), errors)
            .await
            .expect("librdkafka reports that the broker is away");
        broker.broker_up(1).unwrap();
        publish(&producer).await;

        // The first record comes again: nobody has committed its offset.
        while next(&mut tested).await.offset != 1 {}
    }
}
