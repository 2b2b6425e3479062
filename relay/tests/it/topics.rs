//! A topic that is missing, may not be written or has no leader: its keys wait, no other notices.

use std::time::{Duration, Instant};

use outbox::NewEvent;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::RDKafkaRespErr;
use serde_json::json;
use testkit::TopicReader;
use uuid::Uuid;

use crate::test_outbox::{TestOutbox, append_all, event, id};

/// Keys of the events that have nothing to do with the topic that fails.
const OTHERS: usize = 60;

/// What a topic that fails may cost the others, besides what a machine that is busy costs: some seconds, once, until it is
/// known that Kafka itself works (longer if the broker that is asked is the one that is away). If each of the others
/// paid for each failure, they would take five seconds each, five minutes in all.
const COST_MAX: Duration = Duration::from_secs(15);

/// Asserts that the others took no longer than they would have without the topic that fails.
fn nobody_noticed(without: Duration, with: Duration) {
    assert!(with < without * 2 + COST_MAX, "{with:?} after {without:?}");
}

/// An event of `key` for the topic `bill.events`.
fn bill(key: &str) -> NewEvent {
    NewEvent {
        aggregate_type: "bill",
        ..event(key, json!({}))
    }
}

impl TestOutbox {
    fn bills(&self) -> String {
        format!("{}bill.events", self.prefix)
    }

    /// Appends one event after the other of other keys, of which each is published before the next; answers how long
    /// that takes.
    async fn others_go_on(&self) -> Duration {
        let begun = Instant::now();
        for number in 0..OTHERS {
            let committed = self.commit(&[&format!("other-{number}")]).await;
            assert_eq!(id(&self.topic.next().await), committed[0]);
        }
        begun.elapsed()
    }

    /// As [`Self::others_go_on`], for a broker that is not the test's to read, and while events of the keys `left` wait.
    async fn others_leave_the_outbox(&self, left: &[&str]) -> Duration {
        let begun = Instant::now();
        for number in 0..OTHERS {
            self.commit(&[&format!("other-{number}")]).await;
            self.pending_is(left).await;
        }
        begun.elapsed()
    }

    /// Appends two events for `bill.events` and one of their key for `wallet.events`; answers their ids.
    async fn bills_wait(&self) -> Vec<Uuid> {
        let events = vec![bill("a"), bill("a"), event("a", json!({}))];
        let ids = events.iter().map(|event| event.id).collect();
        append_all(&mut self.database.connect().await, events).await;
        ids
    }
}

#[tokio::test]
async fn a_topic_that_is_missing_slows_nobody_and_its_key_is_parked() {
    a_missing_topic("poller").await;
}

#[tokio::test]
async fn a_topic_that_is_missing_slows_nobody_and_its_key_is_parked_in_mode_cdc() {
    a_missing_topic("cdc").await;
}

async fn a_missing_topic(mode: &str) {
    let test = TestOutbox::new().await;
    let relay = test.relay(&[("RELAY_MODE", mode), ("TOPIC_FAILING_MS_MAX", "1000")]);
    relay.is_ready().await;
    let without = test.others_go_on().await;
    let waiting = test.bills_wait().await;
    nobody_noticed(without, test.others_go_on().await);
    let parked = test.parked_are(1).await;
    let reason = parked[0]["reason"].as_str().unwrap();
    assert!(reason.contains("Unknown topic"), "{reason}");
    assert!(reason.contains(&test.bills()), "{reason}");
    assert_eq!(parked[0]["event_id"], json!(waiting[0]));
    nobody_noticed(without, test.others_go_on().await);
    relay.is_ready().await;

    let bills = TopicReader::create(&test.bills(), 1).await;
    test.relay_parked(&["replay", "a"]).await;
    let published: Vec<Uuid> = bills.take(2).await.iter().map(id).collect();
    assert_eq!(published, waiting[..2]);
    assert_eq!(id(&test.topic.next().await), waiting[2]);
    test.pending_is(&[]).await;
}

#[tokio::test]
async fn a_topic_that_is_created_a_little_later_gets_its_events_in_order() {
    a_late_topic("poller").await;
}

#[tokio::test]
async fn a_topic_that_is_created_a_little_later_gets_its_events_in_order_in_mode_cdc() {
    a_late_topic("cdc").await;
}

/// Takes the ten seconds after which the relay is not ready.
async fn a_late_topic(mode: &str) {
    let test = TestOutbox::new().await;
    let relay = test.relay(&[("RELAY_MODE", mode)]);
    relay.is_ready().await;
    let without = test.others_go_on().await;
    let waiting = test.bills_wait().await;
    nobody_noticed(without, test.others_go_on().await);
    let stuck = "for the topic bill.events waits and was neither published nor parked for";
    relay.is_not_ready("progress", stuck).await;

    let bills = TopicReader::create(&test.bills(), 1).await;
    let published: Vec<Uuid> = bills.take(2).await.iter().map(id).collect();
    assert_eq!(published, waiting[..2]);
    assert_eq!(id(&test.topic.next().await), waiting[2]);
    test.pending_is(&[]).await;
    relay.is_ready().await;
    test.nothing_was_ever_parked(&relay).await;
}

/// Stands for all that passes by itself: too few replicas, a disk that is full.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_whose_leader_is_away_slows_nobody_and_goes_on_in_order_when_it_is_back() {
    for mode in ["poller", "cdc"] {
        let test = TestOutbox::new().await;
        let brokers: MockCluster<'_, DefaultProducerContext> = MockCluster::new(2).unwrap();
        let topic = format!("{}wallet.events", test.prefix);
        for (topic, leader) in [(&topic, 1), (&test.bills(), 2)] {
            brokers.create_topic(topic, 1, 1).unwrap();
            brokers.partition_leader(topic, 0, Some(leader)).unwrap();
        }
        let relay = test.relay(&[
            ("RELAY_MODE", mode),
            ("KAFKA_BROKERS", &brokers.bootstrap_servers()),
            ("TOPIC_FAILING_MS_MAX", "100"),
        ]);
        relay.is_ready().await;
        let without = test.others_leave_the_outbox(&[]).await;
        brokers.broker_down(2).unwrap();
        let waiting = test.bills_wait().await;
        nobody_noticed(without, test.others_leave_the_outbox(&["a"; 3]).await);
        test.nothing_was_ever_parked(&relay).await;

        brokers.broker_up(2).unwrap();
        test.pending_is(&[]).await;
        let servers = brokers.bootstrap_servers();
        let bills = crate::outage::read(&servers, &test.bills());
        assert_eq!(bills.iter().map(id).collect::<Vec<_>>(), waiting[..2]);
        let last = crate::outage::read(&servers, &topic).last().map(id);
        assert_eq!(last, Some(waiting[2]));
        test.nothing_was_ever_parked(&relay).await;
    }
}

/// The real broker of the tests lets everybody write.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_may_not_be_written_slows_nobody_and_its_key_is_parked() {
    for mode in ["poller", "cdc"] {
        let test = TestOutbox::new().await;
        let broker: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
        let topic = format!("{}wallet.events", test.prefix);
        broker.create_topic(&topic, 1, 1).unwrap();
        broker.create_topic(&test.bills(), 1, 1).unwrap();
        let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
        broker.topic_error(&test.bills(), denied).unwrap();
        let relay = test.relay(&[
            ("RELAY_MODE", mode),
            ("KAFKA_BROKERS", &broker.bootstrap_servers()),
            ("TOPIC_FAILING_MS_MAX", "1000"),
        ]);
        relay.is_ready().await;
        let without = test.others_leave_the_outbox(&[]).await;
        test.bills_wait().await;
        nobody_noticed(without, test.others_leave_the_outbox(&["a"; 3]).await);
        let parked = test.parked_are(1).await;
        let reason = parked[0]["reason"].as_str().unwrap();
        assert!(reason.contains("Topic authorization failed"), "{reason}");
        relay.is_ready().await;
    }
}
