//! The pattern listen-to-yourself: the answer comes before the debit, and nothing is lost in between.

use axum::http::StatusCode;
use chassis::consumer::{Handler as _, Record};
use serde_json::{Value, json};
use testkit::{TopicReader, remove_header, set_header};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wallet_api::config::Lab;
use wallet_api::pattern::Pattern;
use wallet_api::patterns::{Commands, MessageTimeout, Publisher};
use wallet_api::settlement::Settlement;

use crate::settlement::paid;
use crate::support::{Answer, WalletApi};

/// wallet-api with its topics. Commands are taken when the test says so.
struct TestSystem {
    api: WalletApi,
    commands: TopicReader,
    events: TopicReader,
    consumer: Commands,
}

impl TestSystem {
    async fn start() -> Self {
        // With the lab, for a payment by another pattern.
        let api = WalletApi::with_pattern(Pattern::ListenToYourself, Lab::On).await;
        let commands = api.kafka.prefixed(events::COMMAND_TOPIC);
        let events = api.kafka.prefixed(events::WALLET_TOPIC);
        let publisher = Publisher::new(&api.kafka, MessageTimeout::Never).unwrap();
        Self {
            commands: TopicReader::create(&commands, 4).await,
            events: TopicReader::create(&events, 4).await,
            consumer: Commands::new(api.pool.clone(), publisher, CancellationToken::new()),
            api,
        }
    }

    /// Handles the records as a delivery does, or a redelivery.
    async fn take(&mut self, batch: &[Record]) {
        let taken = self.consumer.handle(batch).await;
        taken.expect("the batch is taken");
    }

    /// Pays, has the command taken, and returns the payment and the command.
    async fn pay(&mut self, wallet: &str, key: Option<&str>, amount: &str) -> (Value, Record) {
        let answer = self.api.pay(wallet, key, amount).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        let command = self.commands.next().await;
        self.take(std::slice::from_ref(&command)).await;
        (self.shown(&answer).await, command)
    }

    async fn shown(&self, answer: &Answer) -> Value {
        self.api.get(answer.header("location")).await.body
    }

    /// A payment of 1: all earlier events are published before its event.
    async fn published_before_a_last_one(&mut self, wallet: &str) -> Vec<Record> {
        let (last, _) = self.pay(wallet, None, "1").await;
        let mut before = Vec::new();
        loop {
            let event = self.events.next().await;
            if payload(&event)["payment_id"] == last["id"] {
                return before;
            }
            before.push(event);
        }
    }
}

fn payload(event: &Record) -> Value {
    let payload = event.payload.as_deref().unwrap();
    serde_json::from_slice(payload).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_are_listed_newest_first_whatever_their_keys() {
    let mut system = TestSystem::start().await;
    let wallet = system.api.wallet("10").await;
    let mut expected = Vec::new();
    // The payment's id has the time of a generated key, and of no other key.
    for key in [None, Some("b"), Some("a"), None, Some("c")] {
        let (paid, _) = system.pay(&wallet, key, "1").await;
        expected.insert(0, paid["id"].clone());
    }
    let list = format!("/wallets/{wallet}/payments");
    let mut listed = Vec::new();
    let mut page = system.api.get(&format!("{list}?limit=2")).await.body;
    loop {
        let items = page["items"].as_array().unwrap();
        listed.extend(items.iter().map(|payment| payment["id"].clone()));
        let Some(before) = page["next_before"].as_str() else {
            break;
        };
        let next = format!("{list}?limit=2&before={before}");
        page = system.api.get(&next).await.body;
    }
    assert_eq!(listed, expected);
    let elsewhere = system.api.wallet("10").await;
    let path = format!(
        "/wallets/{elsewhere}/payments?before={}",
        listed[0].as_str().unwrap()
    );
    let refused = system.api.get(&path).await;
    assert_eq!(
        (refused.problem(), &refused.body["field"]),
        ("invalid-request", &json!("before"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redelivered_command_debits_once_and_publishes_the_same_event_again() {
    let mut system = TestSystem::start().await;
    let wallet = system.api.wallet("10").await;
    let answer = system.api.pay(&wallet, None, "2.50").await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert_eq!(answer.body["status"], "accepted");
    assert_eq!(
        answer.header("location"),
        format!("/payments/{}", answer.id())
    );
    let early = system.api.get(answer.header("location")).await;
    assert_eq!(early.problem(), "not-found");
    assert!(
        early.body["detail"]
            .as_str()
            .unwrap()
            .contains("not be there yet")
    );
    let command = system.commands.next().await;
    assert_eq!(system.api.balance(&wallet).await, "10.00");

    // The command comes twice in one batch, and then once more.
    system.take(&[command.clone(), command.clone()]).await;
    assert_eq!(system.shown(&answer).await["status"], "pending");
    assert_eq!(system.api.balance(&wallet).await, "7.50");
    system.take(std::slice::from_ref(&command)).await;
    assert_eq!(system.api.balance(&wallet).await, "7.50");
    assert_eq!(system.api.count("select count(*) from outbox").await, 0);

    let events = system.events.take(2).await;
    let id = answer.id().parse::<Uuid>().unwrap();
    let event_id = Uuid::new_v5(&id, b"BillPaymentRequested").to_string();
    for event in &events {
        assert_eq!(event.header("ce_id"), Some(event_id.as_str()));
        assert_eq!(payload(event)["payment_id"], answer.id());
        assert_eq!(event.headers, events[0].headers);
        assert_eq!(event.payload, events[0].payload);
    }
    assert_eq!(system.published_before_a_last_one(&wallet).await.len(), 0);
    system.api.assert_money_is_conserved().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_comes_again_after_its_payment_has_ended_publishes_nothing() {
    let mut system = TestSystem::start().await;
    let wallet = system.api.wallet("10").await;
    let (payment, command) = system.pay(&wallet, None, "2").await;
    system.events.next().await;
    let result = paid(0, &wallet, payment["id"].as_str().unwrap(), "2");
    let mut settlement = Settlement::new(system.api.pool.clone());
    let settled = settlement.handle(&[result]).await;
    settled.expect("the result is taken");
    // The topic is read once more from its beginning, when bill-payer may have forgotten the bill.
    system.take(&[command]).await;
    assert_eq!(system.published_before_a_last_one(&wallet).await.len(), 0);
    assert_eq!(system.api.balance(&wallet).await, "7.00");
    system.api.assert_money_is_conserved().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_the_wallet_declines_ends_as_declined_and_stays_so() {
    let mut system = TestSystem::start().await;
    let wallet = system.api.wallet("10").await;
    let (declined, command) = system.pay(&wallet, Some("k1"), "10.01").await;
    assert_eq!(declined["status"], "declined");
    assert_eq!(
        declined["reason"],
        "the wallet holds INR 10.00, less than the amount"
    );
    // There is money now, but the caller may have paid by other means: the answer stands.
    let path = format!("/wallets/{wallet}/top-ups");
    system
        .api
        .post(&path, None, &json!({ "amount": "90" }))
        .await;
    system.take(&[command]).await;
    let (again, _) = system.pay(&wallet, Some("k1"), "10.01").await;
    assert_eq!(again, declined);
    assert_eq!(system.api.balance(&wallet).await, "100.00");
    // The decline did not use up the key for another payment.
    let (other, _) = system.pay(&wallet, Some("k1"), "3").await;
    assert_eq!(other["status"], "pending");
    assert_ne!(other["id"], declined["id"]);
    let published = system.published_before_a_last_one(&wallet).await;
    assert_eq!(published.len(), 1);
    assert_eq!(payload(&published[0])["payment_id"], other["id"]);
    system.api.assert_money_is_conserved().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_gets_the_same_payment_and_pays_once() {
    let mut system = TestSystem::start().await;
    let wallet = system.api.wallet("10").await;
    let client = Some("march-bill".to_owned());
    for key in [client, None] {
        let first = system.api.pay(&wallet, key.as_deref(), "2").await;
        let key = first.header("idempotency-key").to_owned();
        // Another spelling of the same amount is the same request.
        let again = system.api.pay(&wallet, Some(&key), "2.00").await;
        assert_eq!(again.body, first.body);
        assert_eq!(again.header("location"), first.header("location"));
        let commands = system.commands.take(2).await;
        for command in commands {
            system.take(&[command]).await;
        }
        assert_eq!(system.shown(&first).await["status"], "pending");
    }
    assert_eq!(system.api.balance(&wallet).await, "6.00");
    assert_eq!(system.api.count("select count(*) from payments").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_used_for_another_payment_ends_as_declined_and_debits_nothing() {
    let mut system = TestSystem::start().await;
    let wallet = system.api.wallet("10").await;
    // Both requests come in one batch, and then another one.
    let first = system.api.pay(&wallet, Some("k1"), "4").await;
    let second = system.api.pay(&wallet, Some("k1"), "5").await;
    let commands = system.commands.take(2).await;
    system.take(&commands).await;
    assert_eq!(system.shown(&first).await["status"], "pending");
    let reused =
        "this Idempotency-Key was used for another request; use a new key for each new request";
    let second = system.shown(&second).await;
    assert_eq!(
        (&second["status"], &second["reason"]),
        (&json!("declined"), &json!(reused))
    );
    let (third, _) = system.pay(&wallet, Some("k1"), "6").await;
    assert_eq!(
        (&third["status"], &third["reason"]),
        (&json!("declined"), &json!(reused))
    );
    assert_eq!(system.api.balance(&wallet).await, "6.00");
}

/// This happens after a change of pattern.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_stands_for_another_patterns_payment_debits_nothing() {
    let mut system = TestSystem::start().await;
    let wallet = system.api.wallet("10").await;
    let by_outbox = system
        .api
        .pay_with(&wallet, Some("k1"), &[("x-pay-pattern", "outbox")])
        .await;
    assert_eq!(by_outbox.body["status"], "pending");
    let (declined, _) = system.pay(&wallet, Some("k1"), "1").await;
    assert_eq!(declined["status"], "declined");
    let reason = format!("the Idempotency-Key stands for payment {}", by_outbox.id());
    assert_eq!(declined["reason"], reason);
    // The other way round, the outbox finds the payment.
    let (pending, _) = system.pay(&wallet, Some("k2"), "1").await;
    let by_outbox = system
        .api
        .pay_with(&wallet, Some("k2"), &[("x-pay-pattern", "outbox")])
        .await;
    assert_eq!(by_outbox.body["id"], pending["id"]);
    assert_eq!(by_outbox.header("idempotency-replayed"), "true");
    assert_eq!(system.api.balance(&wallet).await, "8.00");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_currency_cannot_express_is_refused_or_declined() {
    let mut system = TestSystem::start().await;
    let wallet = system.api.wallet("10").await;
    let path = format!("/wallets/{wallet}/pay-bill");
    for body in [
        json!({ "amount": "1.001", "currency": "INR", "account_number": "W" }),
        json!({ "amount": "1.00001", "account_number": "W" }),
    ] {
        let answer = system.api.post(&path, None, &body).await;
        assert_eq!(answer.problem(), "invalid-request", "{body}");
        assert_eq!(answer.body["field"], "amount");
    }
    // Nobody but the wallet knows its currency.
    let (declined, _) = system.pay(&wallet, None, "0.005").await;
    assert_eq!(declined["status"], "declined");
    assert_eq!(declined["amount"], "0.005");
    assert_eq!(declined["currency"], "INR");
    let body = json!({ "amount": "1", "currency": "USD", "account_number": "W" });
    let answer = system.api.post(&path, None, &body).await;
    let command = system.commands.next().await;
    system.take(&[command]).await;
    let declined = system.shown(&answer).await;
    assert_eq!(declined["status"], "declined");
    assert_eq!(declined["currency"], "USD");
    assert_eq!(
        declined["reason"],
        "the wallet is in INR, the request says USD"
    );
    assert_eq!(system.api.balance(&wallet).await, "10.00");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_make_no_sense_are_put_aside_and_those_behind_them_go_on() {
    let mut system = TestSystem::start().await;
    let wallet = system.api.wallet("10").await;
    let nobody = Uuid::now_v7().to_string();
    system.api.pay(&wallet, None, "1").await;
    let good = system.commands.next().await;
    system.api.pay(&nobody, None, "1").await;
    let no_wallet = system.commands.next().await;
    let spoilt = |offset, spoil: &dyn Fn(&mut Record)| {
        let mut record = good.clone();
        record.offset = 100_i64 + offset;
        spoil(&mut record);
        record
    };
    let with = |offset, field: &str, value: &str| {
        let mut body = payload(&good);
        body[field] = json!(value);
        spoilt(offset, &|record| {
            record.payload = Some(body.to_string().into_bytes());
        })
    };
    let batch = [
        spoilt(0, &|record| record.payload = Some(vec![0, 159, 146, 150])),
        spoilt(1, &|record| record.payload = None),
        spoilt(2, &|record| remove_header(record, "ce_type")),
        spoilt(3, &|record| record.key = None),
        with(4, "idempotency_key", "a b"),
        with(5, "provider", "WIFI"),
        with(6, "account_number", " "),
        with(7, "amount", "1.00001"),
        no_wallet,
        good.clone(),
        with(8, "account_number", "somebody else's"),
        spoilt(9, &|record| set_header(record, "ce_type", "PayTwice")),
        spoilt(10, &|record| set_header(record, "ce_source", "somebody")),
        with(11, "payment_id", &nobody),
    ];
    system.take(&batch).await;
    assert_eq!(system.api.balance(&wallet).await, "9.00");
    let letters = system.api.get("/dead-letters").await.body;
    let mut reasons: Vec<&str> = letters["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|letter| letter["reason"].as_str().unwrap())
        .collect();
    assert_eq!(reasons.len(), 13, "{reasons:?}");
    reasons.sort_unstable();
    let derived = reasons
        .iter()
        .filter(|reason| reason.contains("and the request has the id"));
    assert_eq!(derived.count(), 2, "{reasons:?}");
    assert!(reasons.contains(&format!("there is no wallet {nobody}").as_str()));
    system.api.assert_money_is_conserved().await;
}
