//! From the topic into the table: each payment once, and nothing blocks its partition.

use chassis::consumer::{Consumer, ConsumerConfig, Handler as _};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use events::{BillPaymentRequested, header};
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewPartitions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use serde_json::{Value, json};
use testkit::{
    TopicReader, eventually, kafka_brokers, produce, produce_bytes, remove_header, set_header,
    unique_prefix,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::{BillPayer, counts, headers, record, request};

/// An intake that reads a topic of one partition.
struct Topic {
    name: String,
    group: String,
    _reader: TopicReader,
}

struct Running {
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Topic {
    async fn create() -> Self {
        let prefix = unique_prefix();
        let name = format!("{prefix}wallet.events");
        Self {
            _reader: TopicReader::create(&name, 1).await,
            group: format!("{prefix}bill-payer"),
            name,
        }
    }

    fn intake(&self, payer: &BillPayer) -> Running {
        let config = ConsumerConfig {
            brokers: kafka_brokers().into(),
            group: self.group.clone(),
            topic: self.name.clone(),
            batch_records_max: 500,
            ignored_types: vec!["WalletRenamed".to_owned()],
        };
        let consumer = Consumer::new(config, payer.intake()).expect("a consumer is made");
        let stop = CancellationToken::new();
        #[expect(clippy::disallowed_methods, reason = "stopped by the test")]
        let task = tokio::spawn(consumer.run(stop.clone()));
        Running { stop, task }
    }

    /// Publishes a message, changed by `change`, in the place of the event of `request`.
    async fn publish(&self, request: &BillPaymentRequested, change: impl FnOnce(&mut Message)) {
        let mut message = Message {
            key: request.wallet_id.to_string(),
            headers: headers(BillPaymentRequested::TYPE),
            payload: serde_json::to_vec(request).unwrap(),
        };
        change(&mut message);
        let headers: Vec<(&str, &str)> = message
            .headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        produce(&self.name, &message.key, &headers, &message.payload).await;
    }
}

struct Message {
    key: String,
    headers: Vec<(&'static str, String)>,
    payload: Vec<u8>,
}

impl Message {
    fn set(&mut self, name: &'static str, value: &str) {
        self.headers.retain(|(header, _)| *header != name);
        self.headers.push((name, value.to_owned()));
    }

    fn remove(&mut self, name: &'static str) {
        self.headers.retain(|(header, _)| *header != name);
    }
}

impl Running {
    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_redelivered_event_makes_one_bill() {
    let payer = BillPayer::start().await;
    let topic = Topic::create().await;
    let intake = topic.intake(&payer);
    let (first, last) = (request("WIFI-1"), request("WIFI-2"));
    for _ in 0..3 {
        topic.publish(&first, |_| {}).await;
    }
    topic.publish(&last, |_| {}).await;
    counts(&payer.database, "paying", 2).await;
    intake.stop().await;
    // In one batch, and after it was paid, too.
    payer.take_all(&[first.clone(), first.clone()]).await;
    let executor = crate::support::Running::start(payer.executor(crate::support::quick()));
    counts(&payer.database, "paid", 2).await;
    payer.take_all(&[first]).await;
    executor.stop().await;
    counts(&payer.database, "paid", 2).await;
    assert_eq!(payer.events().await.len(), 2);
}

#[tokio::test]
async fn a_malformed_message_is_a_dead_letter_and_the_partition_goes_on() {
    let payer = BillPayer::start().await;
    let topic = Topic::create().await;
    let mut request = request("WIFI-1");
    request.wallet_id = Uuid::from_u128(0x0198_c5f0_7b1c_7d52_9c7e_0000_0000_0001);
    let event = request.clone();
    topic
        .publish(&event, |it| it.payload = b"{ not \xff JSON".to_vec())
        .await;
    topic.publish(&event, |it| it.payload = Vec::new()).await;
    topic
        .publish(&event, |it| it.payload = br#"{"amount":"1"}"#.to_vec())
        .await;
    topic.publish(&event, |it| it.remove(header::TYPE)).await;
    topic.publish(&event, |it| it.remove(header::ID)).await;
    topic
        .publish(&event, |it| it.set(header::ID, "4\u{0}2"))
        .await;
    topic
        .publish(&event, |it| it.key = "somebody".to_owned())
        .await;
    request.account_number = "WIFI\u{0}1".to_owned();
    topic.publish(&request, |_| {}).await;
    let good = crate::support::request("WIFI-2");
    topic.publish(&good, |_| {}).await;
    let intake = topic.intake(&payer);
    counts(&payer.database, "paying", 1).await;
    assert_eq!(
        payer.bill(good.payment_id).await["account_number"],
        "WIFI-2"
    );
    intake.stop().await;

    let letters = payer.get("/dead-letters").await.1["items"].clone();
    let letters: Vec<&Value> = letters.as_array().unwrap().iter().rev().collect();
    let reasons: Vec<&Value> = letters.iter().map(|letter| &letter["reason"]).collect();
    insta::assert_json_snapshot!("dead_letter_reasons", reasons);
    for (offset, letter) in letters.iter().enumerate() {
        let from = (&letter["topic"], &letter["partition"], &letter["offset"]);
        assert_eq!(from, (&json!(topic.name), &json!(0), &json!(offset)));
        assert_eq!(letter["consumer"], "bill-payer");
    }
    // The bytes are kept as they were, in the table.
    let first = letters[0]["id"].as_i64().unwrap();
    let stored = operations::dead_letter::find(&mut payer.database.connect().await, first).await;
    let stored = stored.unwrap().unwrap();
    assert_eq!(stored.payload.unwrap(), b"{ not \xff JSON");
    assert_eq!(
        stored.key.unwrap(),
        event.wallet_id.to_string().into_bytes()
    );

    // Their offsets are committed: another member of the group takes only what came since.
    let later = crate::support::request("WIFI-3");
    topic.publish(&later, |_| {}).await;
    let intake = topic.intake(&payer);
    counts(&payer.database, "paying", 2).await;
    intake.stop().await;
    let letters = payer.get("/dead-letters").await.1["items"].clone();
    assert_eq!(letters.as_array().unwrap().len(), 8);
}

#[tokio::test]
async fn an_event_of_an_unknown_type_is_a_dead_letter_unless_the_type_is_ignored() {
    let payer = BillPayer::start().await;
    let topic = Topic::create().await;
    let (newer, ignored, taken) = (request("WIFI-1"), request("WIFI-2"), request("WIFI-3"));
    topic
        .publish(&newer, |it| it.set(header::TYPE, "BillPaymentSplit"))
        .await;
    topic
        .publish(&ignored, |it| {
            it.set(header::TYPE, "WalletRenamed");
            it.set(header::SOURCE, "another-service");
        })
        .await;
    topic.publish(&taken, |_| {}).await;
    let intake = topic.intake(&payer);
    counts(&payer.database, "paying", 1).await;
    intake.stop().await;
    payer.bill(taken.payment_id).await;
    let letters = payer.get("/dead-letters").await.1["items"].clone();
    let letters = letters.as_array().unwrap();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0]["event_type"], "BillPaymentSplit");
    let reason = letters[0]["reason"].as_str().unwrap();
    assert_eq!(
        reason,
        "this version does not know the type \"BillPaymentSplit\""
    );
}

#[tokio::test]
async fn a_payment_id_that_comes_with_another_bill_is_a_dead_letter() {
    let payer = BillPayer::start().await;
    let known = request("WIFI-ATTACKER");
    payer.take_all(std::slice::from_ref(&known)).await;
    let mut others = vec![known.clone(); 4];
    others[0].account_number = "WIFI-VICTIM".to_owned();
    others[1].provider = "cable".to_owned();
    others[2].wallet_id = Uuid::now_v7();
    others[3].money =
        serde_json::from_value(json!({ "amount": "100.01", "currency": "INR" })).unwrap();
    // Once alone, once in one batch with the same bill again.
    for (offset, other) in others.iter().enumerate() {
        let mut record = record(other);
        record.offset = i64::try_from(offset).unwrap();
        payer.intake().handle(&[record]).await.unwrap();
    }
    let mut again = record(&known);
    again.offset = 10;
    let mut together = record(&others[0]);
    together.offset = 11;
    payer.intake().handle(&[again, together]).await.unwrap();
    let bill = payer.bill(known.payment_id).await;
    assert_eq!(
        bill["account_number"], "WIFI-ATTACKER",
        "the bill stays as it is"
    );
    let letters = payer.get("/dead-letters").await.1["items"].clone();
    let letters: Vec<&Value> = letters.as_array().unwrap().iter().rev().collect();
    let differences: Vec<&str> = letters
        .iter()
        .map(|letter| letter["reason"].as_str().unwrap())
        .map(|reason| reason.split("another bill: ").nth(1).unwrap())
        .collect();
    let account = "account number \"WIFI-ATTACKER\", not \"WIFI-VICTIM\"";
    let wallets = format!(
        "wallet \"{}\", not \"{}\"",
        known.wallet_id, others[2].wallet_id
    );
    assert_eq!(
        differences,
        [
            account,
            "provider \"wifi\", not \"cable\"",
            &wallets,
            "amount \"100\", not \"100.01\"",
            account
        ]
    );
    // An operator's retry of it is refused for the same reason.
    let path = format!("/dead-letters/{}/retry", letters[0]["id"]);
    let (_, retried) = payer.post(&path, "asha", json!({})).await;
    assert_eq!(retried["outcome"], "refused", "{retried}");
    // In one batch, nobody is first but the first.
    let new = request("WIFI-9");
    let mut second = new.clone();
    second.account_number = "WIFI-8".to_owned();
    payer.take_all(&[new.clone(), second]).await;
    assert_eq!(payer.bill(new.payment_id).await["account_number"], "WIFI-9");
}

#[tokio::test]
async fn an_event_that_another_service_published_is_a_dead_letter() {
    let payer = BillPayer::start().await;
    let mut forged = record(&request("WIFI-1"));
    set_header(&mut forged, header::SOURCE, "somebody");
    payer.intake().handle(&[forged]).await.unwrap();
    counts(&payer.database, "paying", 0).await;
    let letters = payer.get("/dead-letters").await.1["items"].clone();
    let reason = letters[0]["reason"].as_str().unwrap();
    assert_eq!(
        reason,
        "the header ce_source is \"somebody\"; messages of this topic come from \"wallet-api\""
    );
}

#[tokio::test]
async fn two_bad_messages_of_one_place_are_two_dead_letters() {
    let payer = BillPayer::start().await;
    let (mut first, mut second) = (record(&request("WIFI-1")), record(&request("WIFI-2")));
    for record in [&mut first, &mut second] {
        record.payload = Some(b"{".to_vec());
        record.timestamp_ms = Some(1);
    }
    // The topic was deleted and created again: its offsets begin again.
    for record in [&first, &first, &second] {
        payer
            .intake()
            .handle(std::slice::from_ref(record))
            .await
            .unwrap();
    }
    assert_eq!(
        rows(&payer, "select from dead_letters").await,
        2,
        "a redelivery adds no dead letter"
    );
    let mut later = first.clone();
    later.timestamp_ms = Some(2);
    payer.intake().handle(&[later]).await.unwrap();
    assert_eq!(
        rows(&payer, "select from dead_letters").await,
        3,
        "the same, sent again"
    );
}

#[tokio::test]
async fn no_byte_of_a_header_ends_the_intake() {
    let payer = BillPayer::start().await;
    let topic = Topic::create().await;
    let (bad, good) = (request("WIFI-1"), request("WIFI-2"));
    let key = bad.wallet_id.to_string();
    let payload = serde_json::to_vec(&bad).unwrap();
    let headers: [(&[u8], &[u8]); 4] = [
        (b"caf\xe9", b"v"),
        (header::ID.as_bytes(), b"caf\xe9"),
        (header::TYPE.as_bytes(), b"BillPaymentRequested"),
        (b"", b""),
    ];
    produce_bytes(&topic.name, 0, key.as_bytes(), &payload, &headers).await;
    topic.publish(&good, |_| {}).await;
    let intake = topic.intake(&payer);
    counts(&payer.database, "paying", 1).await;
    intake.stop().await;
    payer.bill(good.payment_id).await;
    let letters = payer.get("/dead-letters").await.1["items"].clone();
    assert_eq!(letters.as_array().unwrap().len(), 1, "{letters}");
    assert_eq!(letters[0]["reason"], "the names of 1 headers are not UTF-8");
    assert_eq!(letters[0]["payload"], String::from_utf8(payload).unwrap());
    let kept = json!([
        ["ce_id", "caf\u{fffd}", "636166e9"],
        ["ce_type", "BillPaymentRequested"],
        ["", ""]
    ]);
    assert_eq!(letters[0]["headers"], kept, "the bytes are kept");
}

#[tokio::test]
async fn a_header_whose_name_ends_at_a_nul_is_not_taken_for_the_one_without_it() {
    let payer = BillPayer::start().await;
    let topic = Topic::create().await;
    let (forged, good) = (request("WIFI-1"), request("WIFI-2"));
    let key = forged.wallet_id.to_string();
    let payload = serde_json::to_vec(&forged).unwrap();
    let headers = headers(BillPaymentRequested::TYPE);
    let mut headers: Vec<(&[u8], &[u8])> = headers
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
        .collect();
    headers.insert(0, (b"ce_type\0", b"BillPaymentRequested"));
    produce_bytes(&topic.name, 0, key.as_bytes(), &payload, &headers).await;
    topic.publish(&good, |_| {}).await;
    let intake = topic.intake(&payer);
    counts(&payer.database, "paying", 1).await;
    intake.stop().await;
    payer.bill(good.payment_id).await;
    let letters = payer.get("/dead-letters").await.1["items"].clone();
    assert_eq!(
        letters[0]["reason"],
        "the header ce_type is there more than once"
    );
}

#[tokio::test]
async fn a_topic_that_an_administrator_compresses_with_zstd_is_read() {
    let payer = BillPayer::start().await;
    let topic = Topic::create().await;
    let admin = admin();
    let config = std::collections::HashMap::from([("compression.type", "zstd")]);
    let altered = AlterConfig {
        specifier: ResourceSpecifier::Topic(&topic.name),
        entries: config,
    };
    let altered = admin.alter_configs([&altered], &AdminOptions::new()).await;
    altered.unwrap()[0].as_ref().expect("the topic is altered");
    let request = request("WIFI-1");
    topic.publish(&request, |_| {}).await;
    let intake = topic.intake(&payer);
    counts(&payer.database, "paying", 1).await;
    intake.stop().await;
}

#[tokio::test]
async fn a_partition_that_is_added_is_read_soon() {
    let payer = BillPayer::start().await;
    let topic = Topic::create().await;
    let intake = topic.intake(&payer);
    topic.publish(&request("WIFI-1"), |_| {}).await;
    counts(&payer.database, "paying", 1).await;
    let grown = NewPartitions::new(&topic.name, 2);
    let grown = admin()
        .create_partitions([&grown], &AdminOptions::new())
        .await;
    grown.unwrap()[0].as_ref().expect("a partition is added");
    let request = request("WIFI-2");
    let payload = serde_json::to_vec(&request).unwrap();
    let headers = headers(BillPaymentRequested::TYPE);
    let headers: Vec<(&[u8], &[u8])> = headers
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
        .collect();
    let key = request.wallet_id.to_string();
    produce_bytes(&topic.name, 1, key.as_bytes(), &payload, &headers).await;
    counts(&payer.database, "paying", 2).await;
    intake.stop().await;
}

fn admin() -> AdminClient<DefaultClientContext> {
    let client = chassis::kafka::client(kafka_brokers(), "test");
    client.create().expect("an admin client is made")
}

#[tokio::test]
async fn a_lost_trace_is_no_reason_not_to_pay() {
    let payer = BillPayer::start().await;
    let request = request("WIFI-1");
    let mut record = record(&request);
    remove_header(&mut record, header::TRACEPARENT);
    payer.intake().handle(&[record]).await.unwrap();
    let bill = payer.bill(request.payment_id).await;
    let traceparent = bill["traceparent"].as_str().unwrap();
    assert!(chassis::TraceContext::read(traceparent, "").is_some());
}

#[tokio::test]
async fn a_batch_is_taken_whole_or_not_at_all() {
    let payer = BillPayer::start().await;
    let (good, mut bad) = (request("WIFI-1"), request("WIFI-2"));
    bad.payment_id = good.payment_id;
    let mut broken = record(&bad);
    broken.payload = Some(b"{".to_vec());
    // The dead letter can't be written while somebody has locked its table.
    let mut other = payer.database.connect().await;
    execute(
        &mut other,
        "begin; lock table dead_letters in exclusive mode",
    )
    .await;
    let mut intake = payer.intake();
    let records = [record(&good), broken];
    let taken = intake.handle(&records);
    let look = async {
        eventually("the intake waits", async || {
            let waiting =
                "select from pg_locks where not granted and relation = 'dead_letters'::regclass";
            match rows(&payer, waiting).await {
                0 => Err("it does not".to_owned()),
                _ => Ok(()),
            }
        })
        .await;
        assert_eq!(rows(&payer, "select from bills").await, 0);
        execute(&mut other, "rollback").await;
    };
    let (taken, ()) = tokio::join!(taken, look);
    taken.unwrap();
    assert_eq!(rows(&payer, "select from bills").await, 1);
    assert_eq!(rows(&payer, "select from dead_letters").await, 1);
}

async fn execute(conn: &mut AsyncPgConnection, sql: &str) {
    conn.batch_execute(sql).await.unwrap();
}

async fn rows(payer: &BillPayer, sql: &str) -> usize {
    let mut conn = payer.database.connect().await;
    diesel::sql_query(sql).execute(&mut conn).await.unwrap()
}
