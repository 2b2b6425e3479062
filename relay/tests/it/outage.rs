//! The broker is away: rows wait, nothing is lost, order is kept.

use std::time::Duration;

use chassis::consumer::{ReadRecord, Record};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use testkit::{free_address, kafka_brokers};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::test_outbox::{TestOutbox, id};

#[tokio::test]
async fn events_wait_for_a_broker_that_is_not_there_yet() {
    let test = TestOutbox::new().await;
    let address = free_address();
    let relay = test.relay(&[("KAFKA_BROKERS", &address)]);
    let committed = test.commit(&["a", "b"]).await;
    relay.is_not_ready("kafka", "no Kafka broker answers").await;
    assert_eq!(test.pending().await, ["a", "b"]);

    let mut proxy = JoinSet::new();
    proxy.spawn(forward(TcpListener::bind(&address).await.unwrap()));
    let mut published: Vec<_> = test.topic.take(2).await.iter().map(id).collect();
    published.sort();
    assert_eq!(published, committed);
    test.pending_is(&[]).await;
    relay.is_ready().await;
    test.nothing_was_ever_parked(&relay).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_wait_while_the_broker_is_down_and_go_on_in_order_when_it_is_back() {
    the_broker_is_down("poller").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_wait_while_the_broker_is_down_and_go_on_in_order_in_mode_cdc() {
    the_broker_is_down("cdc").await;
}

/// A broker that can be stopped in the middle: the real one can't, other tests are using it.
async fn the_broker_is_down(mode: &str) {
    let test = TestOutbox::new().await;
    let broker: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
    let topic = format!("{}wallet.events", test.prefix);
    broker.create_topic(&topic, 1, 1).unwrap();
    let brokers = broker.bootstrap_servers();
    let relay = test.relay(&[("RELAY_MODE", mode), ("KAFKA_BROKERS", &brokers)]);
    let mut committed = test.commit(&["a"]).await;
    test.pending_is(&[]).await;
    relay.is_ready().await;

    broker.broker_down(1).unwrap();
    relay.is_not_ready("kafka", "no Kafka broker answers").await;
    for _ in 0..3 {
        committed.extend(test.commit(&["a"; 100]).await);
    }
    relay
        .is_not_ready("progress", "neither published nor parked for")
        .await;
    assert_eq!(test.pending().await.len(), 300);
    test.nothing_was_ever_parked(&relay).await;

    broker.broker_up(1).unwrap();
    test.pending_is(&[]).await;
    relay.is_ready().await;
    test.nothing_was_ever_parked(&relay).await;
    let records = read(&brokers, &topic);
    assert_eq!(records.iter().map(id).collect::<Vec<_>>(), committed);
}

/// Passes connections on to the real broker.
async fn forward(listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        connections.spawn(async move {
            let mut broker = TcpStream::connect(kafka_brokers()).await.unwrap();
            tokio::io::copy_bidirectional(&mut client, &mut broker).await
        });
    }
}

/// The records of partition 0 of `topic`.
pub(crate) fn read(brokers: &str, topic: &str) -> Vec<Record> {
    let consumer: BaseConsumer = chassis::kafka::client(brokers, "test")
        .set("group.id", "reads-without-a-group")
        .create()
        .unwrap();
    let mut assignment = rdkafka::TopicPartitionList::new();
    assignment
        .add_partition_offset(topic, 0, rdkafka::Offset::Beginning)
        .unwrap();
    consumer.assign(&assignment).unwrap();
    let within = Duration::from_secs(30);
    let (_, end) = consumer.fetch_watermarks(topic, 0, within).unwrap();
    (0..end)
        .map(|_| {
            let message = consumer.poll(within).unwrap().unwrap();
            ReadRecord::from(&message).record
        })
        .collect()
}
