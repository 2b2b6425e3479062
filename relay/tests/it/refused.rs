//! Messages that Kafka refuses for good: their key waits, the others go on. Who refuses, and which.

use std::collections::HashSet;

use chassis::consumer::Record;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use outbox::Event;
use outbox::NewEvent;
use outbox::schema::outbox::dsl;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use relay::publisher::{Outcome, Publisher};
use serde_json::json;
use testkit::{eventually, kafka_brokers, unique_prefix};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::test_outbox::{TestOutbox, append_all, event, id, key, keys};

const EPOCH: &str = "e0123456789abcdef";

#[tokio::test]
async fn an_event_above_the_producers_limit_holds_up_its_key_only() {
    let test = TestOutbox::new().await;
    let _relay = test.relay(&[("MESSAGE_BYTES_MAX", "2000")]);
    let events = vec![
        event("a", json!({})),
        large("a", 3_000),
        event("b", json!({})),
        event("a", json!({})),
        event("b", json!({})),
    ];
    let (refused, behind) = (events[1].id, events[3].id);
    let mut conn = test.database.connect().await;
    append_all(&mut conn, events).await;

    let records = test.topic.take(3).await;
    test.pending_is(&["a", "a"]).await;
    let mut published = keys(&records);
    published.sort_unstable();
    assert_eq!(published, ["a", "b", "b"]);

    // The operator gives it up.
    let gone = diesel::delete(dsl::outbox.filter(dsl::id.eq(refused)));
    assert_eq!(gone.execute(&mut conn).await, Ok(1));
    assert_eq!(id(&test.topic.next().await), behind);
    test.pending_is(&[]).await;
}

#[tokio::test]
async fn an_event_that_the_broker_refuses_holds_up_its_key_only_and_is_not_overtaken() {
    refused_by_the_broker("poller").await;
}

#[tokio::test]
async fn an_event_that_the_broker_refuses_holds_up_its_key_only_in_mode_cdc() {
    refused_by_the_broker("cdc").await;
}

async fn refused_by_the_broker(mode: &str) {
    let test = set_with_messages_up_to("100000").await;
    // Refused ones fill a request: those behind them travel in the next one, which the broker would take.
    let mut events = vec![event("a", json!({}))];
    for key in ["a", "c"] {
        events.push(large(key, 480_000));
        events.extend([large(key, 60_000), large(key, 60_000)]);
    }
    events.extend((0..200).map(|number| large(&format!("b{number}"), 1_000)));
    let committed: Vec<Uuid> = events.iter().map(|event| event.id).collect();
    append_all(&mut test.database.connect().await, events).await;
    let _relay = test.relay(&[("RELAY_MODE", mode), ("MESSAGE_BYTES_MAX", "500000")]);

    test.pending_is(&["a", "a", "a", "c", "c", "c"]).await;
    let parked = test.parked_are(2).await;
    assert_eq!(
        (&parked[0]["key"], &parked[1]["key"]),
        (&json!("a"), &json!("c"))
    );
    let mut records = test.topic.take(201).await;
    assert_eq!(of_key(&records, "a"), committed[..1]);
    assert!(of_key(&records, "c").is_empty());

    raise_limit(&test, "1000000").await;
    eventually("the broker takes them", async || {
        test.relay_parked(&["replay", "--all"]).await;
        match test.pending().await {
            pending if pending.is_empty() => Ok(()),
            pending => Err(format!("{pending:?}")),
        }
    })
    .await;
    while records.iter().map(id).collect::<HashSet<_>>().len() < committed.len() {
        records.push(test.topic.next().await);
    }
    assert_eq!(of_key(&records, "a"), committed[..4]);
    assert_eq!(of_key(&records, "c"), committed[4..7]);
}

#[tokio::test]
async fn a_relay_that_stops_refuses_nobody_on_suspicion() {
    let test = set_with_messages_up_to("100000").await;
    let config = test.config();
    let mut publisher = Publisher::new(&config.kafka, &config.publisher).unwrap();
    // Those of one partition travel together, and are refused together.
    let keys: Vec<String> = (0..50).map(|number| number.to_string()).collect();
    let mut events: Vec<NewEvent> = keys.iter().map(|key| large(key, 1_000)).collect();
    events[0] = large(&keys[0], 480_000);
    let events = appended(&test, events).await;
    let stop = CancellationToken::new();
    stop.cancel();
    let outcomes = publisher.publish(EPOCH, &events, &stop).await;
    assert_eq!(outcomes[0], Outcome::Pending);
    let refused = |outcome: &Outcome| matches!(outcome, Outcome::Refused(_));
    assert!(!outcomes.iter().any(refused), "{outcomes:?}");

    // With time to ask, the large one is refused, and it alone.
    let outcomes = publisher
        .publish(EPOCH, &events, &CancellationToken::new())
        .await;
    let expected: Vec<bool> = keys.iter().map(|key| key == "0").collect();
    assert_eq!(outcomes.iter().map(refused).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn an_event_that_was_refused_in_the_company_of_another_of_its_key_does_not_overtake_it() {
    let test = set_with_messages_up_to("100000").await;
    let config = test.config();
    let mut publisher = Publisher::new(&config.kafka, &config.publisher).unwrap();
    let events = vec![
        event("a", json!({})),
        large("a", 480_000),
        event("a", json!({})),
    ];
    let events = appended(&test, events).await;
    let outcomes = publisher
        .publish(EPOCH, &events, &CancellationToken::new())
        .await;
    assert!(
        matches!(
            outcomes[..],
            [Outcome::Published, Outcome::Refused(_), Outcome::Pending]
        ),
        "{outcomes:?}"
    );
}

#[tokio::test]
async fn an_event_in_the_request_behind_one_that_the_broker_refuses_is_not_sent_after_it() {
    let test = set_with_messages_up_to("100000").await;
    let mut config = test.config();
    // The second event fills a request; those behind it are in the next one, which the broker would take.
    config.publisher.message_bytes_max = 500_000;
    let mut publisher = Publisher::new(&config.kafka, &config.publisher).unwrap();
    let events = vec![
        event("a", json!({})),
        large("a", 480_000),
        large("a", 60_000),
        large("a", 60_000),
        event("a", json!({ "last": true })),
    ];
    let events = appended(&test, events).await;
    let (last, events) = events.split_last().unwrap();
    let stop = CancellationToken::new();
    let outcomes = publisher.publish(EPOCH, events, &stop).await;
    assert!(
        matches!(
            outcomes[..],
            [
                Outcome::Published,
                Outcome::Refused(_),
                Outcome::Pending,
                Outcome::Pending
            ]
        ),
        "{outcomes:?}"
    );
    // Whatever was sent before is before it.
    let last_outcome = publisher
        .publish(EPOCH, std::slice::from_ref(last), &stop)
        .await;
    assert_eq!(last_outcome, [Outcome::Published]);
    let records = test.topic.take(2).await;
    assert_eq!(of_key(&records, "a"), [events[0].id, last.id]);
}

/// Appends `events`; answers them as a relay reads them.
async fn appended(test: &TestOutbox, events: Vec<NewEvent>) -> Vec<Event> {
    let mut conn = test.database.connect().await;
    append_all(&mut conn, events).await;
    diesel::sql_query(
        "select seq, id, aggregatetype, aggregateid, type, source, specversion, contenttype, traceparent, tracestate, \
             payload::text as payload from outbox order by seq",
    )
    .load(&mut conn)
    .await
    .unwrap()
}

/// An event with a payload of that many bytes; compressed, more than a quarter of them is left.
pub(crate) fn large(key: &str, bytes: usize) -> NewEvent {
    let noise: String = (0..bytes / 32)
        .map(|_| Uuid::now_v7().simple().to_string())
        .collect();
    event(key, json!({ "noise": noise }))
}

/// Ids of the records of `key`, when first seen.
fn of_key(records: &[Record], wanted: &str) -> Vec<Uuid> {
    let mut known = HashSet::new();
    let of_key = records.iter().filter(|record| key(record) == wanted);
    of_key.map(id).filter(|id| known.insert(*id)).collect()
}

/// An outbox whose broker takes no larger batches of messages, from the first one on: a limit that is set
/// later takes effect at some moment.
async fn set_with_messages_up_to(bytes: &str) -> TestOutbox {
    let prefix = unique_prefix();
    let topic = format!("{prefix}wallet.events");
    let topic = NewTopic::new(&topic, 8, TopicReplication::Fixed(1));
    let topic = topic.set("max.message.bytes", bytes);
    let created = admin().create_topics(&[topic], &AdminOptions::new()).await;
    assert!(created.unwrap()[0].is_ok());
    TestOutbox::with_prefix(prefix).await
}

/// Raises the limit; that takes effect at some moment.
async fn raise_limit(test: &TestOutbox, bytes: &str) {
    let topic = format!("{}wallet.events", test.prefix);
    let topic = ResourceSpecifier::Topic(&topic);
    let change = AlterConfig::new(topic).set("max.message.bytes", bytes);
    let changed = admin().alter_configs(&[change], &AdminOptions::new()).await;
    assert!(changed.unwrap()[0].is_ok());
}

fn admin() -> AdminClient<DefaultClientContext> {
    let admin = chassis::kafka::client(kafka_brokers(), "test").create();
    admin.unwrap()
}
