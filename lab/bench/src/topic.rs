//! The topic that the relay publishes to, from outside.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use chassis::kafka::Brokers;
use lab_stack::servers::PARTITIONS;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};

const ANSWER_WITHIN: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub(super) struct Topic {
    name: String,
    consumer: Arc<BaseConsumer>,
}

impl Topic {
    pub(super) fn new(brokers: &str, name: String) -> anyhow::Result<Self> {
        let consumer = consumer(brokers)?;
        Ok(Self {
            name,
            consumer: Arc::new(consumer),
        })
    }

    pub(super) async fn records(&self) -> anyhow::Result<u64> {
        let Self { name, consumer } = self.clone();
        let count = move || {
            (0..PARTITIONS).try_fold(0, |records, partition| {
                let (_, end) = consumer
                    .fetch_watermarks(&name, partition, ANSWER_WITHIN)
                    .context("looking at the end of the topic")?;
                Ok(records + u64::try_from(end)?)
            })
        };
        tokio::task::spawn_blocking(count).await?
    }

    pub(super) fn tail(&self, brokers: &str) -> anyhow::Result<BaseConsumer> {
        let consumer = consumer(brokers)?;
        let mut partitions = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            let (_, end) = self
                .consumer
                .fetch_watermarks(&self.name, partition, ANSWER_WITHIN)?;
            partitions.add_partition_offset(&self.name, partition, Offset::Offset(end))?;
        }
        consumer.assign(&partitions)?;
        Ok(consumer)
    }
}

fn consumer(brokers: &str) -> anyhow::Result<BaseConsumer> {
    chassis::kafka::client(Brokers::with_environment(brokers)?, "lab-bench")
        // Never joins it.
        .set("group.id", "lab-bench")
        .set("enable.auto.commit", "false")
        // A record is handed over as soon as it is there; this is how long the broker waits for one.
        .set("fetch.wait.max.ms", "10")
        .create()
        .context("making a Kafka consumer")
}
