//! Reading a topic again, from a time to its end, without a consumer group.
//!
//! Promises: each message that was made since that time and was in the topic when the reading began is handed out once,
//! each partition in its order; the offsets of no group are read or changed; a broker that stays silent is an error, never
//! an early end. Leaves to the caller: that what it does with a message a second time is harmless.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::metadata::MetadataPartition;
use rdkafka::{Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;

use crate::Backoff;
use crate::consumer::{self, Attempts, ConsumerHealth, Handler, ReadRecord};
use crate::kafka::{self, Brokers, LogContext};

/// How long a broker may take to answer a question, and for how long it is asked again.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// How long nothing may come before the reading is given up.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// How long to wait before a broker is asked again, or a batch that failed is tried again.
const RETRY: Backoff = Backoff {
    first: Duration::from_millis(100),
    max: Duration::from_secs(1),
};

/// How often to look whether the messages can be taken.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What to read.
#[derive(Debug, Clone)]
pub struct ReplayConfig {
    /// Where Kafka is.
    pub brokers: Brokers,
    /// The topic, with its prefix.
    pub topic: String,
    /// Only messages made since then.
    pub since: DateTime<Utc>,
    /// A batch has at most so many messages.
    pub batch_records_max: usize,
}

/// A topic, and what is left to read of it.
pub struct Replay {
    stream: Arc<StreamConsumer<LogContext>>,
    topic: String,
    /// Of each partition that is not read to its end: the offset after the last message to read.
    ends: HashMap<i32, i64>,
    begins_late: bool,
    batch_records_max: usize,
    silence_max: Duration,
}

/// What of a partition is to be read.
#[derive(Debug, Clone, Copy)]
struct Range {
    /// The first offset that retention has left.
    low: i64,
    start: i64,
    /// Behind the last message.
    end: i64,
}

impl Replay {
    /// Finds out where each partition begins and ends.
    ///
    /// # Errors
    /// No broker responds, or the topic does not exist.
    pub async fn open(config: ReplayConfig) -> anyhow::Result<Self> {
        let stream = Arc::new(consumer(&config.brokers)?);
        let begun = Instant::now();
        let mut failures = 0;
        let ranges = loop {
            let (asked, config) = (Arc::clone(&stream), config.clone());
            let ranges = tokio::task::spawn_blocking(move || ranges(&asked, &config)).await?;
            match ranges {
                // A broker is about to come back, or a partition has no leader yet.
                Err(_) if begun.elapsed() < ANSWER_WITHIN => {
                    failures += 1;
                    tokio::time::sleep(RETRY.wait(failures)).await;
                }
                ranges => break ranges,
            }
        };
        let ranges = ranges.with_context(|| {
            let ReplayConfig { brokers, topic, .. } = &config;
            format!("asking Kafka at {brokers} for {topic}")
        })?;
        Self::assign(stream, config.topic, ranges, config.batch_records_max)
    }

    fn assign(
        stream: Arc<StreamConsumer<LogContext>>,
        topic: String,
        mut ranges: HashMap<i32, Range>,
        batch_records_max: usize,
    ) -> anyhow::Result<Self> {
        let begins_late = ranges
            .values()
            .any(|range| range.low > 0 && range.start <= range.low);
        ranges.retain(|_, range| range.start < range.end);
        let mut assignment = TopicPartitionList::new();
        for (partition, range) in &ranges {
            let start = Offset::Offset(range.start);
            assignment.add_partition_offset(&topic, *partition, start)?;
        }
        stream.assign(&assignment)?;
        Ok(Self {
            stream,
            topic,
            ends: ranges.iter().map(|(id, range)| (*id, range.end)).collect(),
            begins_late,
            batch_records_max,
            silence_max: SILENCE_MAX,
        })
    }

    /// Whether the topic may have had messages since the time that was asked for, and has them no more: retention has
    /// deleted what was before the first one there is.
    #[must_use]
    pub const fn begins_late(&self) -> bool {
        self.begins_late
    }

    /// The next messages; none at the end.
    ///
    /// # Errors
    /// The brokers fall silent.
    pub async fn next_batch(&mut self) -> anyhow::Result<Vec<ReadRecord>> {
        let mut batch = Vec::new();
        let mut last_error = None;
        // What the caller did meanwhile is not the brokers' silence.
        let mut heard_at = Instant::now();
        while batch.len() < self.batch_records_max && !self.ends.is_empty() {
            let patience = self.silence_max.saturating_sub(heard_at.elapsed());
            let finished = match tokio::time::timeout(patience, self.stream.recv()).await {
                Err(_) => {
                    let silent = format!(
                        "nothing came from {} for {:?}",
                        self.topic, self.silence_max
                    );
                    return Err(match last_error {
                        Some(error) => anyhow::Error::new(error).context(silent),
                        None => anyhow::anyhow!(silent),
                    });
                }
                // Also where the last offsets hold no message: those of transactions, or compacted ones.
                Ok(Err(KafkaError::PartitionEOF(partition))) => Some(partition),
                // librdkafka tries again by itself.
                Ok(Err(error)) => {
                    last_error = Some(error);
                    continue;
                }
                Ok(Ok(message)) => {
                    let (partition, offset) = (message.partition(), message.offset());
                    let end = self.ends.get(&partition).copied().unwrap_or(0);
                    if offset < end {
                        batch.push(ReadRecord::from(&message));
                    }
                    (offset + 1 >= end).then_some(partition)
                }
            };
            heard_at = Instant::now();
            if let Some(partition) = finished {
                self.finish(partition)?;
            }
        }
        Ok(batch)
    }

    /// A partition that grows would go on coming.
    fn finish(&mut self, partition: i32) -> anyhow::Result<()> {
        if self.ends.remove(&partition).is_some() {
            let mut one = TopicPartitionList::new();
            one.add_partition(&self.topic, partition);
            self.stream.pause(&one)?;
        }
        Ok(())
    }
}

fn consumer(brokers: &Brokers) -> anyhow::Result<StreamConsumer<LogContext>> {
    let mut settings = kafka::client(brokers, "replay");
    settings
        // librdkafka wants one. It is never joined, and nothing is committed.
        .set("group.id", "replay-reads-without-a-group")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "earliest")
        .set("queued.max.messages.kbytes", "4096");
    brokers.override_in(&mut settings);
    settings
        .create_with_context(LogContext::of("reading a topic again"))
        .context("making a Kafka consumer")
}

/// Blocks.
fn ranges(
    stream: &StreamConsumer<LogContext>,
    config: &ReplayConfig,
) -> anyhow::Result<HashMap<i32, Range>> {
    let metadata = stream.fetch_metadata(Some(&config.topic), ANSWER_WITHIN)?;
    let topic = metadata.topics().first().context("no answer")?;
    let partitions = topic.partitions().iter().map(MetadataPartition::id);
    let mut ranges = HashMap::new();
    let mut asked = TopicPartitionList::new();
    for partition in partitions {
        // The ends first: what is published from now on is not asked for.
        let (low, end) = stream.fetch_watermarks(&config.topic, partition, ANSWER_WITHIN)?;
        // Nothing, unless there is a message that is new enough.
        let start = end;
        ranges.insert(partition, Range { low, start, end });
        let since = Offset::Offset(config.since.timestamp_millis().max(0));
        asked.add_partition_offset(&config.topic, partition, since)?;
    }
    anyhow::ensure!(!ranges.is_empty(), "there is no such topic");
    let found = stream.offsets_for_times(asked, ANSWER_WITHIN)?;
    for element in found.elements() {
        element.error()?;
        let range = ranges.get_mut(&element.partition());
        if let (Some(range), Offset::Offset(offset)) = (range, element.offset()) {
            range.start = offset.min(range.end);
        }
    }
    Ok(ranges)
}

/// Hands everything that is left of `replay` to `handler`, by the consumer's own code, and returns how many messages
/// those were.
///
/// # Errors
/// The brokers fall silent, or nothing could be taken for as long as makes a service unready.
pub async fn hand_over(
    replay: &mut Replay,
    handler: &mut impl Handler,
    ignored_types: &[String],
) -> anyhow::Result<usize> {
    let health = ConsumerHealth::new(replay.topic.clone());
    let never = CancellationToken::new();
    let mut messages = 0;
    loop {
        let batch = replay.next_batch().await?;
        if batch.is_empty() {
            return Ok(messages);
        }
        messages += batch.len();
        let attempts = Attempts {
            health: &health,
            stop: &never,
            retry: RETRY,
        };
        let mut taking = pin!(consumer::hand_over(handler, attempts, ignored_types, batch));
        // A service waits for ever; somebody waits for this.
        while tokio::time::timeout(LOOK_EVERY, &mut taking).await.is_err() {
            health.check()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::DefaultProducerContext;

    use super::*;

    #[tokio::test]
    async fn a_broker_that_stays_silent_is_an_error_and_no_end() {
        let broker: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
        broker.create_topic("t", 1, 1).unwrap();
        let stream = Arc::new(consumer(&broker.bootstrap_servers().into()).unwrap());
        let to_read = Range {
            low: 0,
            start: 0,
            end: 1,
        };
        let ranges = HashMap::from([(0, to_read)]);
        broker.broker_down(1).unwrap();
        let mut replay = Replay::assign(stream, "t".to_owned(), ranges, 10).unwrap();
        replay.silence_max = Duration::from_millis(300);
        let error = replay.next_batch().await.unwrap_err();
        assert!(
            format!("{error:#}").contains("nothing came from t"),
            "{error:#}"
        );
    }
}
