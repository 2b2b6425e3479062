//! Topics for one test, on the real broker.

use std::time::Duration;

use chassis::consumer::{ReadRecord, Record};
use chassis::kafka;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};
use uuid::Uuid;

#[must_use]
pub fn kafka_brokers() -> String {
    super::setting("TEST_KAFKA_BROKERS")
}

/// A `TOPIC_PREFIX` that no other test has.
#[must_use]
pub fn unique_prefix() -> String {
    format!("t{}.", Uuid::now_v7().simple())
}

/// Reads a whole topic from its beginning, all partitions, without a group.
pub struct TopicReader {
    consumer: StreamConsumer,
    topic: String,
}

impl TopicReader {
    /// Creates `topic` if it is missing, and begins to read it.
    pub async fn create(topic: &str, partitions: i32) -> Self {
        Self::create_on(&kafka_brokers(), topic, partitions, 1).await
    }

    /// The same on other brokers, with so many replicas.
    pub async fn create_on(brokers: &str, topic: &str, partitions: i32, replicas: i32) -> Self {
        kafka::create_topics(brokers, &[topic], partitions, replicas)
            .await
            .expect("the topic is created");
        let consumer: StreamConsumer = kafka::client(brokers, "testkit")
            .set("group.id", "testkit-reads-without-a-group")
            .set("enable.auto.commit", "false")
            .set("fetch.wait.max.ms", "10")
            .create()
            .expect("a consumer is made");
        let mut assignment = TopicPartitionList::new();
        for partition in 0..partitions {
            assignment
                .add_partition_offset(topic, partition, Offset::Beginning)
                .expect("the offset is valid");
        }
        consumer
            .assign(&assignment)
            .expect("partitions are assigned");
        Self {
            consumer,
            topic: topic.to_owned(),
        }
    }

    /// Returns the next record, in the order of arrival, which is the topic's order within a partition.
    pub async fn next(&self) -> Record {
        let message = tokio::time::timeout(super::DEADLINE, self.consumer.recv())
            .await
            .unwrap_or_else(|_| panic!("no further record on {}", self.topic))
            .expect("the topic can be read");
        ReadRecord::from(&message).record
    }

    pub async fn take(&self, count: usize) -> Vec<Record> {
        let mut records = Vec::with_capacity(count);
        while records.len() < count {
            records.push(self.next().await);
        }
        records
    }
}

/// Headers as a record has them.
#[must_use]
pub fn headers(headers: &[(&str, &str)]) -> Vec<(String, Option<Vec<u8>>)> {
    let header = |(name, value): &(&str, &str)| {
        let value = value.as_bytes().to_vec();
        ((*name).to_owned(), Some(value))
    };
    headers.iter().map(header).collect()
}

/// Replaces the header `name` of `record`.
pub fn set_header(record: &mut Record, name: &str, value: &str) {
    remove_header(record, name);
    record.headers.extend(headers(&[(name, value)]));
}

pub fn remove_header(record: &mut Record, name: &str) {
    record.headers.retain(|(found, _)| found != name);
}

/// Publishes one message, as any program may.
pub async fn produce(topic: &str, key: &str, headers: &[(&str, &str)], payload: &[u8]) {
    let producer: FutureProducer = kafka::client(kafka_brokers(), "testkit")
        .set("partitioner", "murmur2_random")
        .create()
        .expect("a producer is made");
    let headers = headers
        .iter()
        .fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header {
                key,
                value: Some(*value),
            })
        });
    let record = FutureRecord::to(topic)
        .key(key)
        .headers(headers)
        .payload(payload);
    producer
        .send(record, Duration::from_secs(30))
        .await
        .expect("the message is published");
}
