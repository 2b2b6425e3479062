//! Results settle or refund a payment once.

use axum::http::StatusCode;
use chassis::consumer::{Handler as _, Record};
use serde_json::{Value, json};
use uuid::Uuid;
use wallet_api::settlement::Settlement;

use crate::support::WalletApi;

fn record(offset: i64, event_type: &str, payload: &Value) -> Record {
    Record {
        topic: "bill.events".to_owned(),
        partition: 0,
        offset,
        key: None,
        headers: vec![
            ("ce_id".to_owned(), Uuid::now_v7().to_string()),
            ("ce_type".to_owned(), event_type.to_owned()),
        ],
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
async fn unknown_types_are_skipped_and_malformed_messages_are_kept() {
    let api = WalletApi::start().await;
    let wallet = api.wallet("10").await;
    let payment = api.pay(&wallet, None, "2").await.id();
    let mut no_type = paid(1, &wallet, &payment, "2.00");
    no_type.headers.remove(1);
    let mut no_id = paid(2, &wallet, &payment, "2.00");
    no_id.headers[0].1 = "not-a-uuid".to_owned();
    let mut not_json = paid(3, &wallet, &payment, "2.00");
    not_json.payload = Some(vec![0, 159, 146, 150]);
    not_json
        .headers
        .push(("x".to_owned(), "nul \0 inside".to_owned()));
    let mut no_payload = paid(4, &wallet, &payment, "2.00");
    no_payload.payload = None;
    take(
        &api,
        &[
            record(0, "SomethingNew", &json!({})),
            no_type,
            no_id,
            not_json,
            no_payload,
            paid(5, &wallet, &payment, "1e0"),
            paid(6, &wallet, &payment, "2.00"),
        ],
    )
    .await;
    let reasons: Vec<String> = dead_letters(&api)
        .await
        .iter()
        .rev()
        .map(|letter| format!("{}: {}", letter["offset"], letter["reason"]))
        .collect();
    assert_eq!(reasons.len(), 5, "{reasons:?}");
    assert!(
        reasons[0].starts_with("1: \"the header ce_type is missing"),
        "{reasons:?}"
    );
    let payment = api.get(&format!("/payments/{payment}")).await.body;
    assert_eq!(payment["status"], "paid");
}
