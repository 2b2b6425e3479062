//! What a restore of the wallet database has lost comes back from the topics.

use std::process::{Command, Output};

use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use events::{BILL_TOPIC, WALLET_TOPIC};
use serde_json::{Value, json};
use testkit::{kafka_brokers, produce};
use uuid::Uuid;

use crate::support::WalletApi;

const PARTITIONS: i32 = 3;

/// wallet-api with topics of its own.
async fn start() -> WalletApi {
    let api = WalletApi::start().await;
    let topics = [WALLET_TOPIC, BILL_TOPIC].map(|topic| api.kafka.prefixed(topic));
    let topics = topics.each_ref().map(String::as_str);
    let brokers = kafka_brokers();
    let created = chassis::kafka::create_topics(&brokers, &topics, PARTITIONS, 1);
    created.await.unwrap();
    api
}

fn run(api: &WalletApi, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wallet-api"))
        .env_clear()
        .env("DATABASE_URL", api.database.url())
        .env("KAFKA_BROKERS", kafka_brokers())
        .env("TOPIC_PREFIX", &api.kafka.topic_prefix)
        .args(arguments)
        .output()
        .unwrap()
}

/// The output of a command, and whether it succeeded.
fn recover(api: &WalletApi, more: &[&str]) -> (bool, String) {
    let all = ["payments", "recover", "--since", "1h", "--operator", "asha"];
    let output = run(api, &[&all, more].concat());
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.success(), said)
}

fn requested(payment: &str, wallet: &str, amount: &str) -> Value {
    json!({ "payment_id": payment, "wallet_id": wallet, "amount": amount, "currency": "INR",
        "provider": "wifi", "account_number": "WIFI-1", "idempotency_key": format!("key-{payment}") })
}

async fn publish(api: &WalletApi, topic: &str, event_type: &str, source: &str, event: &Value) {
    let id = Uuid::now_v7().to_string();
    let headers = [
        ("ce_id", id.as_str()),
        ("ce_type", event_type),
        ("ce_source", source),
    ];
    let key = event["wallet_id"].as_str().unwrap_or_default();
    let topic = api.kafka.prefixed(topic);
    produce(&topic, key, &headers, event.to_string().as_bytes()).await;
}

async fn publish_request(api: &WalletApi, event: &Value) {
    publish(
        api,
        WALLET_TOPIC,
        "BillPaymentRequested",
        "wallet-api",
        event,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one story")]
async fn payments_that_are_only_in_kafka_are_booked_again_once() {
    let api = start().await;
    let wallet = api.wallet("10").await;
    let known = api.pay(&wallet, Some("known"), "1").await.id();
    let [lost, old] = [(); 2].map(|()| Uuid::now_v7().to_string());
    let mut event = requested(&known, &wallet, "1.00");
    event["idempotency_key"] = json!("known");
    publish_request(&api, &event).await;
    publish_request(&api, &requested(&lost, &wallet, "2.00")).await;
    // The event comes twice, as after a crash of the relay.
    publish_request(&api, &requested(&lost, &wallet, "2.00")).await;
    // An event of a version that did not write the key.
    let mut event = requested(&old, &wallet, "3.00");
    event.as_object_mut().unwrap().remove("idempotency_key");
    publish_request(&api, &event).await;
    publish(
        &api,
        WALLET_TOPIC,
        "WalletRenamed",
        "wallet-api",
        &json!({ "wallet_id": wallet }),
    )
    .await;

    let (well, said) = recover(&api, &["--note", "restored from the backup of 9:00"]);
    assert_eq!(
        (well, said.as_str()),
        (
            true,
            "2 were booked, INR 5.00; 2 were there already; 0 do not fit.\n"
        )
    );
    assert_eq!(api.balance(&wallet).await, "4.00");
    api.assert_money_is_conserved().await;
    let payment = api.get(&format!("/payments/{lost}")).await.body;
    assert_eq!(payment["status"], "pending");
    // The payment has the time of its event, which was published before this payment was made.
    let later = api.pay(&wallet, None, "1").await.body;
    let time = |payment: &Value| {
        payment["created_at"]
            .as_str()
            .unwrap()
            .parse::<DateTime<Utc>>()
    };
    assert!(
        time(&payment).unwrap() < time(&later).unwrap(),
        "{payment} {later}"
    );
    // Kafka has the event.
    assert_eq!(api.count("select count(*) from outbox").await, 2);
    let actions = api.get("/operator-actions").await.body;
    let actions = actions["items"].as_array().unwrap();
    let subjects: Vec<&Value> = actions.iter().map(|action| &action["subject"]).collect();
    assert_eq!(subjects.len(), 2, "{actions:?}");
    assert!(
        subjects.contains(&&json!(format!("payment/{lost}"))),
        "{actions:?}"
    );
    assert_eq!(
        [&actions[0]["action"], &actions[0]["operator"]],
        ["recover", "asha"]
    );

    let (well, said) = recover(&api, &[]);
    assert_eq!(
        (well, said.as_str()),
        (true, "0 were booked; 4 were there already; 0 do not fit.\n")
    );
    assert_eq!(api.balance(&wallet).await, "3.00");

    // A client that repeats its request gets the same payment, and pays once.
    for (payment, key) in [
        (&lost, format!("key-{lost}")),
        (&old, format!("recovered-{old}")),
    ] {
        let amount = if payment == &lost { "2" } else { "3" };
        let again = api.pay(&wallet, Some(&key), amount).await;
        assert_eq!(again.header("idempotency-replayed"), "true", "{again:?}");
        assert_eq!(&again.id(), payment);
    }
    // A client that names the currency does not: the event does not say whether it did.
    let path = format!("/wallets/{wallet}/pay-bill");
    let body = json!({ "amount": "2", "currency": "INR", "account_number": "WIFI-1" });
    let again = api.post(&path, Some(&format!("key-{lost}")), &body).await;
    assert_eq!(again.problem(), "idempotency-key-reused");
    assert_eq!(api.balance(&wallet).await, "3.00");
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a case for each reason")]
async fn what_does_not_fit_is_listed_and_moves_nothing() {
    let api = start().await;
    let wallet = api.wallet("10").await;
    let known = api.pay(&wallet, Some("march"), "1").await.id();
    let stranger = Uuid::now_v7().to_string();
    let ids = [(); 7].map(|()| Uuid::now_v7().to_string());
    let mut euros = requested(&ids[0], &wallet, "1.00");
    euros["currency"] = json!("EUR");
    let mut other = requested(&known, &wallet, "1.00");
    other["account_number"] = json!("WIFI-ATTACKER");
    let mut taken = requested(&ids[1], &wallet, "1.00");
    taken["idempotency_key"] = json!("march");
    let mut unreadable = requested(&ids[2], &wallet, "1.00");
    unreadable["amount"] = json!("a lot");
    let fits = requested(&ids[3], &wallet, "6.00");
    let too_much = requested(&ids[4], &wallet, "4.00");
    let no_wallet = requested(&ids[5], &stranger, "1.00");
    for event in [
        &euros,
        &other,
        &taken,
        &unreadable,
        &fits,
        &too_much,
        &no_wallet,
    ] {
        publish_request(&api, event).await;
    }
    let forged = requested(&ids[6], &wallet, "1.00");
    publish(
        &api,
        WALLET_TOPIC,
        "BillPaymentRequested",
        "somebody",
        &forged,
    )
    .await;

    let lines = [
        format!(
            "{}  {wallet}  EUR 1.00  the wallet is in INR, the request says EUR",
            ids[0]
        ),
        format!(
            "{known}  {wallet}  INR 1.00  the database has a payment with this id and another content"
        ),
        format!(
            "{}  {wallet}  INR 1.00  its Idempotency-Key stands for payment {known}",
            ids[1]
        ),
        "payload is not a BillPaymentRequested".to_owned(),
        format!(
            "{}  {wallet}  INR 4.00  the wallet holds INR 3.00, less than the amount",
            ids[4]
        ),
        format!(
            "{}  {stranger}  INR 1.00  there is no wallet {stranger}",
            ids[5]
        ),
        "the header ce_source is \"somebody\"".to_owned(),
    ];
    let (well, dry) = recover(&api, &["--dry-run"]);
    assert!(
        !well && dry.contains("1 would be booked, INR 6.00; 0 were there already; 7 do not fit."),
        "{dry}"
    );
    assert_eq!(api.balance(&wallet).await, "9.00");
    assert_eq!(api.count("select count(*) from operator_actions").await, 0);
    let (well, said) = recover(&api, &[]);
    assert!(
        !well && said.contains("1 were booked, INR 6.00; 0 were there already; 7 do not fit."),
        "{said}"
    );
    for line in lines {
        assert!(
            said.contains(&line) && dry.contains(&line),
            "{line}\n{said}\n{dry}"
        );
    }
    assert_eq!(api.balance(&wallet).await, "3.00");
    api.assert_money_is_conserved().await;

    // Once the money is there, the rest is booked.
    let top_up = json!({ "amount": "1" });
    let topped_up = api
        .post(&format!("/wallets/{wallet}/top-ups"), None, &top_up)
        .await;
    assert_eq!(topped_up.status, StatusCode::CREATED);
    let (_, said) = recover(&api, &[]);
    assert!(
        said.contains("1 were booked, INR 4.00; 1 were there already; 6 do not fit."),
        "{said}"
    );
    assert_eq!(api.balance(&wallet).await, "0.00");
    api.assert_money_is_conserved().await;
}

/// More than a batch, so that a dry run has to remember what it would have booked.
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_what_the_run_then_does() {
    let api = start().await;
    let wallet = api.wallet("600").await;
    let (topic, twice) = (api.kafka.prefixed(WALLET_TOPIC), Uuid::now_v7().to_string());
    let publishing = (0..601).map(|nth| {
        let payment = if nth == 0 {
            twice.clone()
        } else {
            Uuid::now_v7().to_string()
        };
        let event = requested(&payment, &wallet, "1.00").to_string();
        let (topic, wallet) = (topic.clone(), wallet.clone());
        async move {
            let id = Uuid::now_v7().to_string();
            let headers = [
                ("ce_id", id.as_str()),
                ("ce_type", "BillPaymentRequested"),
                ("ce_source", "wallet-api"),
            ];
            produce(&topic, &wallet, &headers, event.as_bytes()).await;
        }
    });
    futures_util::future::join_all(publishing).await;
    publish_request(&api, &requested(&twice, &wallet, "1.00")).await;
    let (_, dry) = recover(&api, &["--dry-run"]);
    let (_, said) = recover(&api, &[]);
    assert!(
        said.contains("600 were booked, INR 600.00; 1 were there already; 1 do not fit."),
        "{said}"
    );
    assert_eq!(dry.replace("would be", "were"), said);
    assert_eq!(api.balance(&wallet).await, "0.00");
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_taken_again_each_once() {
    let api = start().await;
    let wallet = api.wallet("10").await;
    let [one, two] = [
        api.pay(&wallet, None, "1").await.id(),
        api.pay(&wallet, None, "2").await.id(),
    ];
    let stranger = Uuid::now_v7().to_string();
    let paid = json!({ "payment_id": one, "wallet_id": wallet, "amount": "1.00", "currency": "INR",
        "receipt": "R-1" });
    let failed = |payment: &str| {
        json!({ "payment_id": payment, "wallet_id": wallet, "amount": "2.00", "currency": "INR",
            "reason": "no such account" })
    };
    publish(&api, BILL_TOPIC, "BillPaid", "bill-payer", &paid).await;
    for payment in [&two, &stranger] {
        publish(
            &api,
            BILL_TOPIC,
            "BillPaymentFailed",
            "bill-payer",
            &failed(payment),
        )
        .await;
    }
    let replay = |since: &str| {
        let output = run(&api, &["results", "replay", "--since", since]);
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success(), "{said}");
        // One space where the columns have several.
        said.lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect::<Vec<_>>()
    };
    let said = replay("1h");
    for line in [
        "3 results were read.",
        "settled 1",
        "refunded 1",
        "dead_letter 1",
        "again 0",
    ] {
        assert!(said.iter().any(|it| it == line), "{line}: {said:?}");
    }
    assert_eq!(
        api.get(&format!("/payments/{one}")).await.body["status"],
        "paid"
    );
    assert_eq!(api.balance(&wallet).await, "9.00");
    let said = replay("2020-01-01");
    for line in [
        "3 results were read.",
        "settled 0",
        "refunded 0",
        "dead_letter 0",
        "again 3",
    ] {
        assert!(said.iter().any(|it| it == line), "{line}: {said:?}");
    }
    assert_eq!(replay("2999-01-01T00:00:00Z")[0], "0 results were read.");
    assert_eq!(api.balance(&wallet).await, "9.00");
    api.assert_money_is_conserved().await;

    let output = run(&api, &["results", "replay", "--since", "yesterday"]);
    assert_eq!(output.status.code(), Some(2));
}
