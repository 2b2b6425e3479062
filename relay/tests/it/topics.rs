//! A topic that is missing, may not be written or has too few replicas: its keys wait, no other notices.

use std::time::{Duration, Instant};

use outbox::NewEvent;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::RDKafkaRespErr;
use serde_json::json;
use testkit::TopicReader;
use uuid::Uuid;

use crate::refused::{alter_topic, create_topic};
use crate::stage::{Relay, Stage, append_all, event, id};

/// Keys of the events that have nothing to do with the topic that fails.
const OTHERS: usize = 60;

/// Twice what they take without it, on a machine that is busy; one failure of a missing topic takes as long.
const OTHERS_WITHIN: Duration = Duration::from_secs(5);

/// An event of `key` for the topic `bill.events`.
fn bill(key: &str) -> NewEvent {
    NewEvent {
        aggregate_type: "bill",
        ..event(key, json!({}))
    }
}

impl Stage {
    fn bills(&self) -> String {
        format!("{}bill.events", self.prefix)
    }

    /// Appends one event after the other of other keys, of which each is published before the next: nobody waits.
    async fn others_go_on(&self) {
        let begun = Instant::now();
        for number in 0..OTHERS {
            let committed = self.commit(&[&format!("other-{number}")]).await;
            assert_eq!(id(&self.topic.next().await), committed[0]);
        }
        assert!(begun.elapsed() < OTHERS_WITHIN, "{:?}", begun.elapsed());
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
    let stage = Stage::set().await;
    let relay = stage.relay(&[("RELAY_MODE", mode), ("TOPIC_FAILING_MS_MAX", "1000")]);
    relay.is_ready().await;
    let waiting = stage.bills_wait().await;
    stage.others_go_on().await;
    let parked = stage.parked_are(1).await;
    let reason = parked[0]["reason"].as_str().unwrap();
    assert!(reason.contains("Unknown topic"), "{reason}");
    assert!(reason.contains(&stage.bills()), "{reason}");
    assert_eq!(parked[0]["event_id"], json!(waiting[0]));
    stage.others_go_on().await;
    relay.is_ready().await;

    let bills = TopicReader::create(&stage.bills(), 1).await;
    stage.relay_parked(&["replay", "a"]).await;
    let published: Vec<Uuid> = bills.take(2).await.iter().map(id).collect();
    assert_eq!(published, waiting[..2]);
    assert_eq!(id(&stage.topic.next().await), waiting[2]);
    stage.pending_is(&[]).await;
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
    let stage = Stage::set().await;
    let relay = stage.relay(&[("RELAY_MODE", mode)]);
    relay.is_ready().await;
    let waiting = stage.bills_wait().await;
    stage.others_go_on().await;
    let stuck = "for the topic bill.events waits and was neither published nor parked for";
    relay.is_not_ready("progress", stuck).await;

    let bills = TopicReader::create(&stage.bills(), 1).await;
    let published: Vec<Uuid> = bills.take(2).await.iter().map(id).collect();
    assert_eq!(published, waiting[..2]);
    assert_eq!(id(&stage.topic.next().await), waiting[2]);
    stage.pending_is(&[]).await;
    relay.is_ready().await;
    stage.nothing_was_ever_parked(&relay).await;
}

#[tokio::test]
async fn a_topic_with_too_few_replicas_slows_nobody_and_goes_on_when_it_has_enough() {
    too_few_replicas("poller").await;
}

#[tokio::test]
async fn a_topic_with_too_few_replicas_slows_nobody_and_goes_on_in_mode_cdc() {
    too_few_replicas("cdc").await;
}

async fn too_few_replicas(mode: &str) {
    let stage = Stage::set().await;
    create_topic(&stage.bills(), "min.insync.replicas", "2").await;
    let relay = stage.relay(&[("RELAY_MODE", mode), ("TOPIC_FAILING_MS_MAX", "100")]);
    relay.is_ready().await;
    let waiting = stage.bills_wait().await;
    stage.others_go_on().await;
    stage.others_go_on().await;
    stage.nothing_was_ever_parked(&relay).await;
    assert_eq!(stage.pending().await, ["a", "a", "a"]);

    let bills = TopicReader::create(&stage.bills(), 8).await;
    alter_topic(&stage.bills(), "min.insync.replicas", "1").await;
    let published: Vec<Uuid> = bills.take(2).await.iter().map(id).collect();
    assert_eq!(published, waiting[..2]);
    assert_eq!(id(&stage.topic.next().await), waiting[2]);
    stage.pending_is(&[]).await;
}

/// The real broker of the tests lets everybody write.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_may_not_be_written_slows_nobody_and_its_key_is_parked() {
    for mode in ["poller", "cdc"] {
        let stage = Stage::set().await;
        let broker: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
        let topic = format!("{}wallet.events", stage.prefix);
        broker.create_topic(&topic, 1, 1).unwrap();
        broker.create_topic(&stage.bills(), 1, 1).unwrap();
        let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
        broker.topic_error(&stage.bills(), denied).unwrap();
        let relay = stage.relay(&[
            ("RELAY_MODE", mode),
            ("KAFKA_BROKERS", &broker.bootstrap_servers()),
            ("TOPIC_FAILING_MS_MAX", "1000"),
        ]);
        relay.is_ready().await;
        stage.bills_wait().await;
        let begun = Instant::now();
        for number in 0..OTHERS {
            stage.commit(&[&format!("other-{number}")]).await;
            stage.pending_is(&["a"; 3]).await;
        }
        assert!(
            begun.elapsed() < OTHERS_WITHIN,
            "{mode}: {:?}",
            begun.elapsed()
        );
        is_parked_because(&stage, &relay, "authorization").await;
    }
}

async fn is_parked_because(stage: &Stage, relay: &Relay, word: &str) {
    let parked = stage.parked_are(1).await;
    let reason = parked[0]["reason"].as_str().unwrap();
    assert!(reason.to_lowercase().contains(word), "{reason}");
    relay.is_ready().await;
}
