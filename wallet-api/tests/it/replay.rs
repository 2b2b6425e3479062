//! A topic is read again from a time to its end.

use std::time::Duration;

use chassis::kafka;
use chassis::replay::{Replay, ReplayConfig};
use chrono::DateTime;
use rdkafka::Offset;
use rdkafka::TopicPartitionList;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use testkit::{kafka_brokers, unique_prefix};
use uuid::Uuid;

const SOON: Duration = Duration::from_secs(30);

struct Topic {
    name: String,
    producer: FutureProducer,
    /// Times count from here. Recent, or else retention deletes what has just been written.
    base_ms: i64,
}

impl Topic {
    async fn create(partitions: i32, transactional: bool) -> Self {
        let name = format!("{}replayed", unique_prefix());
        let topics = [name.as_str()];
        let created = kafka::create_topics(&kafka_brokers(), &topics, partitions, 1).await;
        created.unwrap();
        let mut producer = kafka::client(kafka_brokers(), "test");
        if transactional {
            producer.set("transactional.id", &name);
        }
        Self {
            name,
            producer: producer.create().unwrap(),
            base_ms: now_ms(),
        }
    }

    /// A message, made at that time.
    async fn publish(&self, partition: i32, payload: &str, at_ms: i64) {
        let record = FutureRecord::<str, str>::to(&self.name)
            .partition(partition)
            .payload(payload)
            .timestamp(self.base_ms + at_ms);
        self.producer.send(record, SOON).await.unwrap();
    }

    async fn open(&self, since_ms: i64, batch_records_max: usize) -> anyhow::Result<Replay> {
        let since = DateTime::from_timestamp_millis(self.base_ms + since_ms);
        Replay::open(ReplayConfig {
            brokers: kafka_brokers().into(),
            topic: self.name.clone(),
            since: since.unwrap(),
            batch_records_max,
        })
        .await
    }

    /// Everything up to the end: partition, payload and time of each message, batch by batch.
    async fn read(&self, replay: &mut Replay) -> Vec<Vec<(i32, String, i64)>> {
        let mut batches = Vec::new();
        loop {
            let batch = replay.next_batch().await.unwrap();
            if batch.is_empty() {
                return batches;
            }
            let messages = batch.into_iter().map(|it| {
                let payload = String::from_utf8(it.record.payload.unwrap()).unwrap();
                let at_ms = it.record.timestamp_ms.unwrap() - self.base_ms;
                (it.record.partition, payload, at_ms)
            });
            batches.push(messages.collect());
        }
    }
}

fn now_ms() -> i64 {
    let (seconds, _) = Uuid::now_v7().get_timestamp().unwrap().to_unix();
    i64::try_from(seconds).unwrap() * 1_000
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_since_then_is_read_once_up_to_the_end_it_had() {
    let topic = Topic::create(3, false).await;
    for nth in 0..6_i64 {
        topic.publish(0, &format!("a{nth}"), 1_000 + nth).await;
        topic.publish(1, &format!("b{nth}"), 1_000 + nth).await;
    }
    // Of partition 2 everything is too old.
    topic.publish(2, "c", 1_000).await;
    let mut replay = topic.open(1_003, 2).await.unwrap();
    assert!(!replay.begins_late());
    // What comes meanwhile is nobody's loss.
    topic.publish(0, "later", 2_000).await;
    topic.publish(2, "later", 2_000).await;
    let batches = topic.read(&mut replay).await;
    assert!(batches.iter().all(|batch| batch.len() <= 2), "{batches:?}");
    let mut all = batches.concat();
    // Each partition is read in its order; there is no order between partitions.
    all.sort_by_key(|(partition, ..)| *partition);
    let expected = [
        (0, "a3"),
        (0, "a4"),
        (0, "a5"),
        (1, "b3"),
        (1, "b4"),
        (1, "b5"),
    ];
    let expected: Vec<(i32, String, i64)> = expected
        .iter()
        .enumerate()
        .map(|(nth, (partition, payload))| {
            let made_ms = 1_003 + i64::try_from(nth % 3).unwrap();
            (*partition, (*payload).to_owned(), made_ms)
        })
        .collect();
    assert_eq!(all, expected);
    assert!(
        replay.next_batch().await.unwrap().is_empty(),
        "the end stays the end"
    );

    let mut nothing = topic.open(3_000, 2).await.unwrap();
    assert!(topic.read(&mut nothing).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_groups_offsets_are_changed() {
    let topic = Topic::create(1, false).await;
    topic.publish(0, "a", 1_000).await;
    let mut replay = topic.open(0, 10).await.unwrap();
    assert_eq!(topic.read(&mut replay).await.concat().len(), 1);
    drop(replay);
    let group = "replay-reads-without-a-group";
    let asked: BaseConsumer = kafka::client(kafka_brokers(), "test")
        .set("group.id", group)
        .create()
        .unwrap();
    let mut partition = TopicPartitionList::new();
    partition.add_partition(&topic.name, 0);
    let committed = asked.committed_offsets(partition, SOON).unwrap();
    assert_eq!(committed.elements()[0].offset(), Offset::Invalid);
}

/// The last offsets of a partition can be those of a transaction's end, and of messages that were taken back.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_is_found_where_the_last_offsets_hold_no_message() {
    let topic = Topic::create(1, true).await;
    topic.producer.init_transactions(SOON).unwrap();
    topic.producer.begin_transaction().unwrap();
    topic.publish(0, "a", 1_000).await;
    topic.producer.commit_transaction(SOON).unwrap();
    topic.producer.begin_transaction().unwrap();
    topic.publish(0, "taken back", 1_001).await;
    topic.producer.abort_transaction(SOON).unwrap();
    let mut replay = topic.open(0, 10).await.unwrap();
    assert_eq!(
        topic.read(&mut replay).await,
        [[(0, "a".to_owned(), 1_000)]]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_retention_has_deleted_are_told_of() {
    let topic = Topic::create(1, false).await;
    for nth in 0..3 {
        topic.publish(0, "a", 1_000 + nth).await;
    }
    let admin: AdminClient<DefaultClientContext> =
        kafka::client(kafka_brokers(), "test").create().unwrap();
    let mut deleted = TopicPartitionList::new();
    deleted
        .add_partition_offset(&topic.name, 0, Offset::Offset(2))
        .unwrap();
    let deleted = admin.delete_records(&deleted, &AdminOptions::new()).await;
    deleted.unwrap();
    assert!(topic.open(1_000, 10).await.unwrap().begins_late());
    assert!(
        topic.open(1_002, 10).await.unwrap().begins_late(),
        "nobody knows what was before it"
    );
    topic.publish(0, "a", 1_003).await;
    assert!(!topic.open(1_003, 10).await.unwrap().begins_late());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_not_there_is_an_error() {
    let topic = Topic {
        name: format!("{}nowhere", unique_prefix()),
        producer: kafka::client(kafka_brokers(), "test").create().unwrap(),
        base_ms: now_ms(),
    };
    let error = topic.open(0, 10).await.err().unwrap();
    assert!(format!("{error:#}").contains(&topic.name), "{error:#}");
}
