//! What there is to read for a consumer group, as the broker says.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::metadata::{MetadataPartition, MetadataTopic};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};

use super::ConsumerConfig;
use crate::kafka::{self, LogContext};

/// How long the broker may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Asks how much a consumer group has to read, without being a member of it.
#[derive(Clone)]
pub struct GroupLag {
    client: Arc<BaseConsumer<LogContext>>,
    topic: String,
}

impl GroupLag {
    /// Of the group and topic of `config`.
    ///
    /// # Errors
    /// The settings do not make a client.
    pub fn new(config: &ConsumerConfig) -> anyhow::Result<Self> {
        let client = kafka::client(&config.brokers, &config.group)
            .set("group.id", &config.group)
            .create_with_context(LogContext::of("asking Kafka what there is to read"))
            .context("making a Kafka client")?;
        Ok(Self {
            client: Arc::new(client),
            topic: config.topic.clone(),
        })
    }

    /// How many records the group has to read.
    ///
    /// # Errors
    /// No broker responds.
    pub async fn records(&self) -> anyhow::Result<i64> {
        let lags = self.of_partitions(Vec::new()).await?;
        Ok(lags.into_iter().map(PartitionLag::records).sum())
    }

    /// What there is to read of `partitions`, or of all partitions if none is given.
    pub(super) fn of_partitions(
        &self,
        partitions: Vec<i32>,
    ) -> impl Future<Output = anyhow::Result<Vec<PartitionLag>>> + Send + 'static {
        let Self { client, topic } = self.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let lags = lags(&client, &topic, &partitions, ANSWER_WITHIN)?;
            client.context().errors().succeeded();
            Ok(lags)
        });
        async move { asked.await? }
    }
}

/// What the broker says of a partition at one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PartitionLag {
    pub(super) partition: i32,
    /// The next offset that the group will read.
    pub(super) next: i64,
    /// The offset that the next message of the partition will have.
    pub(super) end: i64,
}

impl PartitionLag {
    pub(super) const fn records(self) -> i64 {
        let records = self.end - self.next;
        if records < 0 { 0 } else { records }
    }
}

/// What a consumer group has to read of `partitions` of a topic, or of all its partitions if none is given; `client` has the
/// group's id. Blocks.
fn lags<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    topic: &str,
    partitions: &[i32],
    timeout: Duration,
) -> anyhow::Result<Vec<PartitionLag>> {
    let mut partitions = partitions.to_vec();
    if partitions.is_empty() {
        let metadata = client.fetch_metadata(Some(topic), timeout)?;
        let topics = metadata.topics().iter();
        partitions = topics
            .flat_map(MetadataTopic::partitions)
            .map(MetadataPartition::id)
            .collect();
    }
    let mut asked = TopicPartitionList::new();
    for &partition in &partitions {
        asked.add_partition(topic, partition);
    }
    let committed = client.committed_offsets(asked, timeout)?;
    let lag = |element: &TopicPartitionListElem<'_>| {
        let partition = element.partition();
        let (begin, end) = client.fetch_watermarks(topic, partition, timeout)?;
        let next = match element.offset() {
            // One beyond the end is of a topic that was there before, with the same name.
            Offset::Offset(offset) if (begin..=end).contains(&offset) => offset,
            _ => begin,
        };
        Ok(PartitionLag {
            partition,
            next,
            end,
        })
    };
    committed.elements().iter().map(lag).collect()
}
