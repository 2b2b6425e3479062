//! Results settle or refund a payment once.

use std::sync::Arc;

use axum::http::StatusCode;
use chassis::consumer::{Handler as _, Record};
use diesel_async::SimpleAsyncConnection as _;
use serde_json::{Value, json};
use testkit::{eventually, headers, remove_header, set_header};
use uuid::Uuid;
use wallet_api::settlement::Settlement;

use crate::support::WalletApi;

pub(crate) fn record(offset: i64, event_type: &str, payload: &Value) -> Record {
    let id = Uuid::now_v7().to_string();
    Record {
        topic: "bill.events".to_owned(),
        partition: 0,
        offset,
        timestamp_ms: None,
        key: payload["wallet_id"]
            .as_str()
            .map(|id| id.as_bytes().to_vec()),
        headers: headers(&[
            ("ce_id", &id),
            ("ce_type", event_type),
            ("ce_source", "bill-payer"),
        ]),
        payload: Some(payload.to_string().into_bytes()),
    }
}

pub(crate) fn paid(offset: i64, wallet: &str, payment: &str, amount: &str) -> Record {
    let payload = json!({ "payment_id": payment, "wallet_id": wallet, "amount": amount,
        "currency": "INR", "receipt": "R-1", "a_field_of_the_future": [1] });
    record(offset, "BillPaid", &payload)
}

pub(crate) fn failed(offset: i64, wallet: &str, payment: &str, amount: &str) -> Record {
    let payload = json!({ "payment_id": payment, "wallet_id": wallet, "amount": amount,
        "currency": "INR", "reason": "no such account" });
    record(offset, "BillPaymentFailed", &payload)
}

async fn take(api: &WalletApi, batch: &[Record]) {
    Settlement::new(api.pool.clone())
        .handle(batch)
        .await
        .expect("the batch is taken");
}

async fn dead_letters(api: &WalletApi) -> Vec<Value> {
    let answer = api.get("/dead-letters").await;
    assert_eq!(answer.status, StatusCode::OK);
    answer.body["items"].as_array().expect("items").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paid_bill_settles_and_a_failed_one_refunds() {
    let api = WalletApi::start().await;
    let wallet = api.wallet("10").await;
    let one = api.pay(&wallet, None, "1").await.id();
    let two = api.pay(&wallet, None, "2").await.id();
    take(
        &api,
        &[
            paid(0, &wallet, &one, "1.00"),
            failed(1, &wallet, &two, "2.00"),
        ],
    )
    .await;
    let one = api.get(&format!("/payments/{one}")).await.body;
    assert_eq!(
        (&one["status"], &one["receipt"]),
        (&json!("paid"), &json!("R-1"))
    );
    let two = api.get(&format!("/payments/{two}")).await.body;
    assert_eq!(
        (&two["status"], &two["reason"]),
        (&json!("refunded"), &json!("no such account"))
    );
    assert_eq!(api.balance(&wallet).await, "9.00");
    let kinds = api
        .texts("select kind as text from transfers where kind in ('settlement', 'refund') order by kind")
        .await;
    assert_eq!(kinds, ["refund", "settlement"]);
    api.assert_money_is_conserved().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redelivered_result_acts_once() {
    let api = WalletApi::start().await;
    let wallet = api.wallet("10").await;
    let payment = api.pay(&wallet, None, "2").await.id();
    let result = failed(0, &wallet, &payment, "2.00");
    take(&api, &[result.clone(), result.clone()]).await;
    take(&api, &[result]).await;
    assert_eq!(api.balance(&wallet).await, "10.00");
    assert_eq!(
        api.count("select count(*) from transfers where kind = 'refund'")
            .await,
        1
    );
    assert!(dead_letters(&api).await.is_empty());
    api.assert_money_is_conserved().await;
}

/// A relay that follows the log reads a commit a moment before other transactions can see it.
#[tokio::test(flavor = "multi_thread")]
async fn a_result_waits_for_the_commit_of_its_payment() {
    let api = Arc::new(WalletApi::start().await);
    let wallet = api.wallet("10").await;
    let payment = Uuid::now_v7().to_string();
    let mut paying = api.database.connect().await;
    paying
        .batch_execute(&format!(
            "begin; select from wallets where id = '{wallet}' for no key update; \
             insert into payments (id, wallet_id, amount, currency, provider, account_number, idempotency_key, \
                 fingerprint) values ('{payment}', '{wallet}', 2, 'INR', 'wifi', 'WIFI-1', 'key', ''); \
             insert into transfers (id, kind, debit_account, credit_account, amount, payment_id) \
                 select '{payment}', 'payment', '{wallet}', id, 2, '{payment}' from accounts \
                 where kind = 'clearing' and currency = 'INR'; \
             update wallets set balance = balance - 2 where id = '{wallet}'"
        ))
        .await
        .unwrap();
    let result = paid(0, &wallet, &payment, "2.00");
    let mut taking = tokio::task::JoinSet::new();
    let own = Arc::clone(&api);
    taking.spawn(async move { take(&own, &[result]).await });
    eventually("the result waits", async || {
        let waiting = "select count(*) from pg_locks where not granted and pid in ( \
             select pid from pg_stat_activity where datname = current_database())";
        match api.count(waiting).await {
            0 => Err("nobody waits".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
    paying.batch_execute("commit").await.unwrap();
    taking.join_all().await;
    assert_eq!(dead_letters(&api).await, Vec::<Value>::new());
    let payment = api.get(&format!("/payments/{payment}")).await.body;
    assert_eq!(payment["status"], "paid");
    api.assert_money_is_conserved().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_that_fit_no_pending_payment_move_nothing_and_are_kept() {
    let api = WalletApi::start().await;
    let wallet = api.wallet("10").await;
    let payment = api.pay(&wallet, None, "2").await.id();
    let stranger = Uuid::now_v7().to_string();
    take(
        &api,
        &[
            failed(0, &wallet, &stranger, "2.00"),
            failed(1, &wallet, &payment, "3.00"),
            failed(2, &stranger, &payment, "2.00"),
        ],
    )
    .await;
    assert_eq!(api.balance(&wallet).await, "8.00");
    assert_eq!(dead_letters(&api).await.len(), 3);
    // First paid, then failed, in one batch and in two: the first stands.
    take(
        &api,
        &[
            paid(3, &wallet, &payment, "2.00"),
            failed(4, &wallet, &payment, "2.00"),
        ],
    )
    .await;
    take(&api, &[failed(5, &wallet, &payment, "2.00")]).await;
    assert_eq!(api.balance(&wallet).await, "8.00");
    assert_eq!(dead_letters(&api).await.len(), 5);
    let payment = api.get(&format!("/payments/{payment}")).await.body;
    assert_eq!(payment["status"], "paid");
    api.assert_money_is_conserved().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_no_result_is_a_dead_letter_with_its_reason() {
    let api = WalletApi::start().await;
    let wallet = api.wallet("10").await;
    let payment = api.pay(&wallet, None, "2").await.id();
    let spoilt = |offset, spoil: &dyn Fn(&mut Record)| {
        let mut record = paid(offset, &wallet, &payment, "2.00");
        spoil(&mut record);
        record
    };
    let other_key = Uuid::now_v7().to_string();
    let batch = [
        spoilt(0, &|it| set_header(it, "ce_type", "BillSplit")),
        spoilt(1, &|it| remove_header(it, "ce_type")),
        spoilt(2, &|it| set_header(it, "ce_id", "not-a-uuid")),
        spoilt(3, &|it| {
            it.payload = Some(vec![0, 159, 146, 150]);
            set_header(it, "x", "nul \0 inside");
        }),
        spoilt(4, &|it| it.payload = None),
        paid(5, &wallet, &payment, "1e0"),
        spoilt(6, &|it| set_header(it, "ce_source", "wallet-api")),
        spoilt(7, &|it| it.key = None),
        spoilt(8, &|it| it.key = Some(other_key.clone().into_bytes())),
        spoilt(9, &|it| {
            it.headers.extend(headers(&[("ce_id", &other_key)]));
        }),
        paid(10, &wallet, &payment, "2.00"),
    ];
    take(&api, &batch).await;
    let letters = dead_letters(&api).await;
    let reasons: Vec<&str> = letters
        .iter()
        .rev()
        .map(|letter| letter["reason"].as_str().unwrap())
        .collect();
    let beginnings = [
        "this version does not know the type \"BillSplit\"",
        "the header ce_type is missing",
        "the header ce_id is not a UUID",
        "payload is not a BillPaid",
        "there is no payload",
        "payload is not a BillPaid",
        "the header ce_source is \"wallet-api\"",
        "the key is not a wallet id",
        "the key is not the wallet id",
        "the header ce_id is there more than once",
    ];
    assert_eq!(reasons.len(), beginnings.len(), "{reasons:?}");
    for (reason, beginning) in reasons.iter().zip(beginnings) {
        assert!(reason.starts_with(beginning), "{reason} {beginning}");
    }
    let payment = api.get(&format!("/payments/{payment}")).await.body;
    assert_eq!(payment["status"], "paid");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_id_that_comes_with_another_content_is_a_dead_letter() {
    let api = WalletApi::start().await;
    let wallet = api.wallet("10").await;
    let (one, two) = (
        api.pay(&wallet, None, "2").await.id(),
        api.pay(&wallet, None, "3").await.id(),
    );
    let first = paid(0, &wallet, &one, "2.00");
    let mut spelled = first.clone();
    let payload: Value = serde_json::from_slice(first.payload.as_ref().unwrap()).unwrap();
    spelled.payload = Some(serde_json::to_vec_pretty(&payload).unwrap());
    // The event has the id of the first one, and the payment of another.
    let mut other = paid(1, &wallet, &two, "3.00");
    other.headers = first.headers.clone();
    take(&api, &[first, spelled, other.clone()]).await;
    assert_eq!(
        dead_letters(&api).await.len(),
        1,
        "the same content in another spelling is no dead letter"
    );
    take(&api, &[other]).await;
    let letters = dead_letters(&api).await;
    assert_eq!(letters.len(), 1, "a redelivery adds no dead letter");
    let reason = letters[0]["reason"].as_str().unwrap();
    assert!(
        reason.ends_with("is known with another content"),
        "{reason}"
    );
    let two = api.get(&format!("/payments/{two}")).await.body;
    assert_eq!(two["status"], "pending");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_of_another_bill_than_the_payments_settles_nothing() {
    let api = WalletApi::start().await;
    let wallet = api.wallet("10").await;
    let payment = api.pay(&wallet, None, "2").await.id();
    let with_payee = |offset, provider: &str, account: &str| {
        let payload = json!({ "payment_id": payment, "wallet_id": wallet, "amount": "2.00", "currency": "INR",
            "receipt": "R-1", "payee": { "provider": provider, "account_number": account } });
        record(offset, "BillPaid", &payload)
    };
    let shown = api.get(&format!("/payments/{payment}")).await.body;
    let account = shown["account_number"].as_str().unwrap();
    take(
        &api,
        &[
            with_payee(0, "wifi", "WIFI-ATTACKER"),
            with_payee(1, "cable", account),
        ],
    )
    .await;
    let shown = api.get(&format!("/payments/{payment}")).await.body;
    assert_eq!(shown["status"], "pending");
    let letters = dead_letters(&api).await;
    assert_eq!(letters.len(), 2);
    let reason = letters[1]["reason"].as_str().unwrap();
    assert!(reason.contains("to wifi \"WIFI-ATTACKER\""), "{reason}");
    take(&api, &[with_payee(2, "wifi", account)]).await;
    let shown = api.get(&format!("/payments/{payment}")).await.body;
    assert_eq!(shown["status"], "paid");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_comes_again_under_another_id_is_dropped_only_if_it_says_the_same() {
    let api = WalletApi::start().await;
    let wallet = api.wallet("10").await;
    let one = api.pay(&wallet, None, "2").await.id();
    let two = api.pay(&wallet, None, "2").await.id();
    // First in one batch, and then in a later one.
    take(
        &api,
        &[
            paid(0, &wallet, &one, "2.00"),
            paid(1, &wallet, &one, "2.00"),
            failed(2, &wallet, &two, "2.00"),
        ],
    )
    .await;
    take(
        &api,
        &[
            paid(3, &wallet, &one, "2.00"),
            failed(4, &wallet, &two, "2.00"),
        ],
    )
    .await;
    assert_eq!(dead_letters(&api).await, Vec::<Value>::new());
    let mut other_receipt = paid(5, &wallet, &one, "2.00");
    let payload = String::from_utf8(other_receipt.payload.take().unwrap()).unwrap();
    other_receipt.payload = Some(payload.replace("R-1", "R-2").into_bytes());
    let contradictions = [
        other_receipt,
        failed(6, &wallet, &one, "2.00"),
        paid(7, &wallet, &two, "2.00"),
        paid(8, &wallet, &one, "1.00"),
    ];
    take(&api, &contradictions).await;
    assert_eq!(dead_letters(&api).await.len(), contradictions.len());
    assert_eq!(api.balance(&wallet).await, "8.00");
    api.assert_money_is_conserved().await;
}
