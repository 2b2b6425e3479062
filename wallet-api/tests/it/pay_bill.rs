//! Paying a bill: debit, ledger entry, payment and event in one transaction.

use std::collections::HashSet;
use std::sync::Arc;

use axum::http::StatusCode;
use serde_json::json;

use crate::support::WalletApi;

#[tokio::test(flavor = "multi_thread")]
async fn debit_payment_transfer_and_event_commit_in_one_transaction() {
    let api = WalletApi::start().await;
    let wallet = api.wallet("1000.00").await;
    let answer = api.pay(&wallet, None, "100.50").await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
    assert_eq!(
        answer.header("location"),
        format!("/payments/{}", answer.id())
    );
    assert!(!answer.header("idempotency-key").is_empty());
    assert_eq!(answer.body["status"], "pending");
    assert_eq!(answer.body["amount"], "100.50");
    assert_eq!(api.balance(&wallet).await, "899.50");
    let transactions: HashSet<String> = api
        .texts(&format!(
            "select xmin::text as text from wallets where id = '{wallet}' \
             union all select xmin::text from payments \
             union all select xmin::text from transfers where kind = 'payment' \
             union all select xmin::text from outbox"
        ))
        .await
        .into_iter()
        .collect();
    assert_eq!(transactions.len(), 1, "{transactions:?}");
    api.assert_money_is_conserved().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_event_says_what_is_to_be_paid() {
    let api = WalletApi::start().await;
    let wallet = api.wallet("10").await;
    let payment = api.pay(&wallet, Some("march"), "2.5").await.id();
    let event = api
        .texts(
            "select concat_ws(' | ', aggregatetype, aggregateid, type, source, specversion, \
             contenttype, payload::text) as text from outbox",
        )
        .await
        .concat();
    let event = event
        .replace(&wallet, "<wallet>")
        .replace(&payment, "<payment>");
    insta::assert_snapshot!(event, @r#"wallet | <wallet> | BillPaymentRequested | wallet-api | 1.0 | application/json | {"amount": "2.50", "currency": "INR", "provider": "wifi", "wallet_id": "<wallet>", "payment_id": "<payment>", "account_number": "WIFI-1", "idempotency_key": "march"}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn insufficient_funds_change_nothing() {
    let api = WalletApi::start().await;
    let wallet = api.wallet("10").await;
    let answer = api.pay(&wallet, Some("k"), "10.01").await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answer.problem(), "insufficient-funds");
    assert_eq!(api.balance(&wallet).await, "10.00");
    assert_eq!(api.count("select count(*) from payments").await, 0);
    assert_eq!(api.count("select count(*) from outbox").await, 0);
    // The key was not used up by the refusal.
    assert_eq!(
        api.pay(&wallet, Some("k"), "10").await.status,
        StatusCode::ACCEPTED
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_200_concurrent_payments_with_funds_for_100_exactly_100_are_accepted() {
    let api = Arc::new(WalletApi::start().await);
    let wallet = api.wallet("100").await;
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let (api, wallet) = (Arc::clone(&api), wallet.clone());
        requests.spawn(async move { api.pay(&wallet, None, "1").await.status });
    }
    let statuses = requests.join_all().await;
    let with = |status| statuses.iter().filter(|one| **one == status).count();
    assert_eq!(with(StatusCode::ACCEPTED), 100);
    assert_eq!(with(StatusCode::UNPROCESSABLE_ENTITY), 100);
    assert_eq!(api.balance(&wallet).await, "0.00");
    assert_eq!(api.count("select count(*) from payments").await, 100);
    assert_eq!(api.count("select count(*) from outbox").await, 100);
    api.assert_money_is_conserved().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_takes_its_place_behind_the_wallets_lock() {
    let api = Arc::new(WalletApi::start().await);
    let wallet = api.wallet("10").await;
    let lock = format!("select from wallets where id = '{wallet}' for update");
    let lock = api.database.in_the_way(&lock).await;
    let (paying, payer) = (wallet.clone(), Arc::clone(&api));
    let mut request = tokio::task::JoinSet::new();
    request.spawn(async move { payer.pay(&paying, None, "1").await.status });
    api.database.somebody_waits().await;
    // Sequences are outside transactions: a number that was drawn can be seen at once.
    let drawn = "select count(*) from pg_sequences \
                 where sequencename = 'outbox_seq_seq' and last_value is not null";
    assert_eq!(api.count(drawn).await, 0);
    lock.clear().await;
    assert_eq!(request.join_all().await, [StatusCode::ACCEPTED]);
    assert_eq!(api.count(drawn).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn scales_are_those_of_the_currency() {
    let api = WalletApi::start().await;
    for (currency, fits, does_not, shown) in [
        ("JPY", "5", "0.5", "5"),
        ("INR", "0.05", "0.005", "0.05"),
        ("KWD", "0.005", "0.0005", "0.005"),
    ] {
        let wallet = json!({ "currency": currency, "opening_balance": 10 });
        let wallet = api.post("/wallets", None, &wallet).await.id();
        let refused = api.pay(&wallet, None, does_not).await;
        assert_eq!(refused.problem(), "invalid-request", "{currency}");
        assert_eq!(refused.body["field"], "amount");
        let paid = api.pay(&wallet, None, fits).await;
        assert_eq!(paid.status, StatusCode::ACCEPTED, "{currency}");
        assert_eq!(paid.body["amount"], shown);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_currency_than_the_wallets_is_refused() {
    let api = WalletApi::start().await;
    let wallet = api.wallet("10").await;
    let body = json!({ "amount": "1", "currency": "USD", "account_number": "W" });
    let answer = api
        .post(&format!("/wallets/{wallet}/pay-bill"), None, &body)
        .await;
    assert_eq!(answer.problem(), "currency-mismatch");
    assert_eq!(api.balance(&wallet).await, "10.00");
}
