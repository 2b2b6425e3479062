//! What is published: topic, key, headers and bytes.

use std::collections::HashSet;
use std::fmt::Write as _;

use chassis::consumer::Record;
use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel_async::RunQueryDsl;
use events::header;
use outbox::NewEvent;
use outbox::schema::outbox::dsl;
use relay::driver;
use relay::mode::Mode as _;
use relay::poller::Poller;
use relay::progress::Progress;
use relay::publisher::Publisher;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::slot::streams;
use crate::test_outbox::{TestOutbox, append_all, event, id, key};

#[tokio::test]
async fn a_message_is_the_row_byte_for_byte() {
    let test = TestOutbox::new().await;
    let mut conn = test.database.connect().await;
    // jsonb's own text is not serde_json's: other spaces, another order of keys.
    let payload = serde_json::from_str(r#"{"b":"ß \"1\"","amount":1.1,"a":[1e3,null],"z":{}}"#);
    let mut event = event("wallet-1", payload.unwrap());
    event.id = Uuid::from_u128(0x018f_0000_0000_7000_8000_0000_0000_0001);
    append_all(&mut conn, vec![event]).await;
    let stored: String = dsl::outbox
        .select(diesel::dsl::sql::<Text>("payload::text"))
        .get_result(&mut conn)
        .await
        .unwrap();

    let _relay = test.relay(&[]);
    let record = test.topic.next().await;

    assert_eq!(record.payload.as_deref(), Some(stored.as_bytes()));
    assert_eq!(record.topic, format!("{}wallet.events", test.prefix));
    insta::assert_snapshot!(message(&record, &test.epoch().await), @r#"
    key: wallet-1
    ce_id: 018f0000-0000-7000-8000-000000000001
    ce_type: BillPaymentRequested
    ce_source: wallet-api
    ce_specversion: 1.0
    content-type: application/json
    traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
    tracestate: congo=t61rcWkgMzE
    outbox_seq: 1
    outbox_epoch: (of the outbox)

    {"a": [1000.0, null], "b": "ß \"1\"", "z": {}, "amount": 1.1}
    "#);
    test.pending_is(&[]).await;
}

#[tokio::test]
async fn header_names_are_those_of_the_contract() {
    let test = TestOutbox::new().await;
    test.commit(&["a"]).await;
    let _relay = test.relay(&[]);
    let record = test.topic.next().await;
    let names: Vec<&str> = record
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    let contract = [
        header::ID,
        header::TYPE,
        header::SOURCE,
        header::SPECVERSION,
        header::CONTENT_TYPE,
        header::TRACEPARENT,
        header::TRACESTATE,
        header::OUTBOX_SEQ,
        header::OUTBOX_EPOCH,
    ];
    assert_eq!(names, contract);
}

#[tokio::test]
async fn events_of_a_key_are_published_once_each_and_in_order() {
    let test = TestOutbox::new().await;
    let names: Vec<String> = (0..30).map(|number| format!("wallet-{number}")).collect();
    // More of each than a relay takes at once.
    let interleaved: Vec<&str> = names
        .iter()
        .cycle()
        .take(30 * 40)
        .map(String::as_str)
        .collect();
    let committed = test.commit(&interleaved).await;

    let relay = test.relay(&[("ROWS_PER_SHARD_MAX", "7")]);
    let records = test.topic.take(committed.len()).await;
    test.pending_is(&[]).await;
    relay.measures("relay_published_total 1200").await;
    relay.measures("relay_deleted_total 1200").await;

    for name in &names {
        let published: Vec<Uuid> = records
            .iter()
            .filter(|record| key(record) == name)
            .map(id)
            .collect();
        let expected: Vec<Uuid> = interleaved
            .iter()
            .zip(&committed)
            .filter(|(key, _)| *key == name)
            .map(|(_, id)| *id)
            .collect();
        assert_eq!(published, expected, "{name}");
    }
}

#[tokio::test]
async fn the_gauges_tell_how_much_is_waiting_and_since_when() {
    let test = TestOutbox::new().await;
    let mut conn = test.database.connect().await;
    // Nobody listens there: nothing is published.
    let relay = test.relay(&[("KAFKA_BROKERS", "127.0.0.1:1")]);
    relay.measures("outbox_pending_rows 0").await;
    relay
        .measures("outbox_oldest_unpublished_age_seconds 0")
        .await;
    test.commit(&["a", "b", "c"]).await;
    diesel::update(dsl::outbox.filter(dsl::aggregateid.eq("b")))
        .set(dsl::created_at.eq(diesel::dsl::sql("now() - interval '1 hour'")))
        .execute(&mut conn)
        .await
        .unwrap();
    relay.measures("outbox_pending_rows 3").await;
    let pending = relay::pending::sample(&mut conn).await.unwrap();
    assert_eq!(pending.rows, 3);
    assert!((3_600.0..3_700.0).contains(&pending.oldest_age_seconds));

    // Counting a backlog does not go on for ever, and begins with the oldest.
    test.commit(&["d"; 10_001]).await;
    let pending = relay::pending::sample(&mut conn).await.unwrap();
    assert_eq!(pending.rows, 10_000);
    assert!((3_600.0..3_700.0).contains(&pending.oldest_age_seconds));
}

/// What the Java clients would choose, Kafka Connect among them. The hashes are those of Kafka's own
/// `UtilsTest.testMurmur2`.
#[tokio::test]
async fn a_key_goes_to_the_partition_that_every_kafka_client_chooses() {
    let test = TestOutbox::new().await;
    let _relay = test.relay(&[]);
    for (key, hash) in [
        ("21", -973_932_308_i32),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        ("abc", 479_470_107),
    ] {
        test.commit(&[key]).await;
        let partition = (hash & i32::MAX) % 8;
        assert_eq!(test.topic.next().await.partition, partition, "{key}");
    }
}

/// Rows that are there before the relay is, and rows that come when it streams.
pub(crate) async fn what_is_there_and_what_comes(test: &TestOutbox, mode: &str) {
    let mut committed = test.commit(&["a", "a", "b"]).await;
    let relay = test.relay(&[("RELAY_MODE", mode)]);
    let mut records = test.topic.take(3).await;
    test.pending_is(&[]).await;
    relay.is_ready().await;
    streams(test).await;
    for _ in 0..20 {
        committed.extend(test.commit(&["a", "b"]).await);
    }
    test.pending_is(&[]).await;
    records.extend(test.topic.take(40).await);
    let published: HashSet<Uuid> = records.iter().map(id).collect();
    assert_eq!(published, committed.into_iter().collect());
    relay.measures("relay_published_total 43").await;
    relay.measures("relay_deleted_total 43").await;
}

/// All that a consumer sees of a message, but for its place in the topic; `epoch` is that of its outbox.
pub(crate) fn message(record: &Record, epoch: &str) -> String {
    let mut text = format!("key: {}\n", key(record));
    for (name, value) in record.header_values() {
        let value = std::str::from_utf8(value).unwrap();
        let is_epoch = name == header::OUTBOX_EPOCH && value == epoch;
        let value = if is_epoch { "(of the outbox)" } else { value };
        writeln!(text, "{name}: {value}").unwrap();
    }
    let payload = record.payload.as_ref().unwrap();
    text + "\n" + std::str::from_utf8(payload).unwrap()
}

#[tokio::test]
async fn the_topic_follows_the_kind_of_aggregate() {
    let test = TestOutbox::new().await;
    let bills = format!("{}bill.events", test.prefix);
    let bills = testkit::TopicReader::create(&bills, 2).await;
    let bill = NewEvent {
        aggregate_type: "bill",
        ..event("a", json!({}))
    };
    let expected = bill.id;
    append_all(&mut test.database.connect().await, vec![bill]).await;
    let _relay = test.relay(&[]);
    assert_eq!(id(&bills.next().await), expected);
}

/// Bounded in memory, however large the events are.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_large_events_is_cut_off() {
    let test = TestOutbox::new().await;
    let mut conn = test.database.connect().await;
    // Too large for this relay: they don't go over the wire.
    diesel::sql_query(
        "insert into outbox (id, aggregatetype, aggregateid, type, source, traceparent, payload) \
         select gen_random_uuid(), 'wallet', number::text, 'T', 's', '', \
             jsonb_build_object('x', repeat('x', 500000)) \
         from generate_series(1, 150) as number",
    )
    .execute(&mut conn)
    .await
    .unwrap();
    let mut config = test.config();
    config.publisher.message_bytes_max = 2_000;
    let stop = CancellationToken::new();
    let mut publisher = Publisher::new(&config.kafka, &config.publisher).unwrap();
    let progress = Progress::default();
    let started = driver::start::<Poller>(&config, &mut publisher, &progress, None);
    let mut poller = started.await.unwrap();
    let mut reads = Vec::new();
    while reads.last() != Some(&0) {
        reads.push(poller.run_once(&mut publisher, &stop).await.unwrap().read);
    }
    // 64 MiB.
    assert_eq!(reads, [135, 15, 0]);
}
