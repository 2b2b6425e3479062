//! Promise 6: the same key and body give the same answer, another body is refused.

use std::collections::HashSet;
use std::sync::Arc;

use axum::http::StatusCode;
use serde_json::json;

use crate::support::WalletApi;

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_payment_gets_the_same_answer_and_pays_once() {
    let api = WalletApi::start().await;
    let wallet = api.wallet("10").await;
    let first = api.pay(&wallet, Some("k1"), "4").await;
    assert_eq!(first.header("idempotency-replayed"), "");
    // Another spelling of the same amount is the same request.
    let again = api.pay(&wallet, Some("k1"), "4.00").await;
    assert_eq!(again.status, first.status);
    assert_eq!(again.body, first.body);
    assert_eq!(again.header("location"), first.header("location"));
    assert_eq!(again.header("idempotency-key"), "k1");
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(api.balance(&wallet).await, "6.00");
    assert_eq!(api.count("select count(*) from outbox").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_used_for_another_payment_is_refused() {
    let api = WalletApi::start().await;
    let wallet = api.wallet("10").await;
    api.pay(&wallet, Some("k1"), "4").await;
    let other_amount = api.pay(&wallet, Some("k1"), "5").await;
    assert_eq!(other_amount.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(other_amount.problem(), "idempotency-key-reused");
    let other_account = json!({ "amount": "4", "account_number": "WIFI-2" });
    let path = format!("/wallets/{wallet}/pay-bill");
    let other_account = api.post(&path, Some("k1"), &other_account).await;
    assert_eq!(other_account.problem(), "idempotency-key-reused");
    assert_eq!(api.balance(&wallet).await, "6.00");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_belongs_to_its_wallet() {
    let api = WalletApi::start().await;
    let (one, two) = (api.wallet("10").await, api.wallet("10").await);
    let first = api.pay(&one, Some("k1"), "1").await;
    let second = api.pay(&two, Some("k1"), "1").await;
    assert_ne!(first.id(), second.id());
    assert_eq!(second.header("idempotency-replayed"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_with_one_key_at_once_make_one_payment() {
    let api = Arc::new(WalletApi::start().await);
    let wallet = api.wallet("100").await;
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (api, wallet) = (Arc::clone(&api), wallet.clone());
        requests.spawn(async move {
            let answer = api.pay(&wallet, Some("same"), "1").await;
            assert_eq!(answer.status, StatusCode::ACCEPTED);
            let first = answer.header("idempotency-replayed").is_empty();
            (answer.id(), first)
        });
    }
    let answers = requests.join_all().await;
    let ids: HashSet<&String> = answers.iter().map(|(id, _)| id).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(answers.iter().filter(|(_, first)| *first).count(), 1);
    assert_eq!(api.balance(&wallet).await, "99.00");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_transactions_with_one_key_make_one_payment() {
    let api = Arc::new(WalletApi::start().await);
    let wallet = api.wallet("100").await;
    // Stops the first transaction when it has looked for the key and not yet written it.
    let hold = "create function hold() returns trigger language plpgsql as \
                'begin perform pg_advisory_xact_lock(42); return new; end'; \
                create trigger hold before insert on payments for each row execute function hold(); \
                commit; begin; select pg_advisory_xact_lock(42)";
    let hold = api.database.in_the_way(hold).await;
    let mut requests = tokio::task::JoinSet::new();
    for transactions in 1..=2 {
        let (api_of_one, wallet) = (Arc::clone(&api), wallet.clone());
        requests.spawn(async move { api_of_one.pay(&wallet, Some("same"), "1").await.status });
        api.database.sessions_wait(transactions).await;
    }
    hold.clear().await;
    assert_eq!(requests.join_all().await, [StatusCode::ACCEPTED; 2]);
    assert_eq!(api.count("select count(*) from payments").await, 1);
    assert_eq!(api.balance(&wallet).await, "99.00");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_requests_with_one_key_at_once_make_one_wallet() {
    let api = Arc::new(WalletApi::start().await);
    // Stops the first transaction when it has written its key.
    let hold = "create function hold() returns trigger language plpgsql as \
                'begin perform pg_advisory_xact_lock(42); return new; end'; \
                create trigger hold before insert on wallets for each row execute function hold(); \
                commit; begin; select pg_advisory_xact_lock(42)";
    let hold = api.database.in_the_way(hold).await;
    let mut requests = tokio::task::JoinSet::new();
    for transactions in 1..=2 {
        let api_of_one = Arc::clone(&api);
        requests.spawn(async move {
            let wallet = json!({ "currency": "INR", "opening_balance": "5" });
            let answer = api_of_one.post("/wallets", Some("same"), &wallet).await;
            assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
            let first = answer.header("idempotency-replayed").is_empty();
            (answer.id(), answer.body["balance"].clone(), first)
        });
        api.database.sessions_wait(transactions).await;
    }
    hold.clear().await;
    let answers = requests.join_all().await;
    assert_eq!(answers[0].0, answers[1].0);
    assert!(answers.iter().all(|(_, balance, _)| balance == "5.00"));
    assert_eq!(answers.iter().filter(|(_, _, first)| *first).count(), 1);
    assert_eq!(api.count("select count(*) from wallets").await, 1);
    assert_eq!(api.count("select count(*) from transfers").await, 1);
    api.assert_money_is_conserved().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_made_up_key_finds_the_wallet_that_it_made() {
    let api = WalletApi::start().await;
    let wallet = json!({ "currency": "INR", "opening_balance": "5" });
    let made = api.post("/wallets", None, &wallet).await;
    let key = made.header("idempotency-key");
    let again = api.post("/wallets", Some(key), &wallet).await;
    assert_eq!(again.body, made.body);
    assert_eq!(api.count("select count(*) from wallets").await, 1);
    // Another wallet's payments have nothing to do with it.
    let other = api.post("/wallets", None, &wallet).await;
    assert_ne!(other.id(), made.id());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_top_up_gets_the_same_answer_and_adds_once() {
    let api = WalletApi::start().await;
    let wallet = api.wallet("0").await;
    let path = format!("/wallets/{wallet}/top-ups");
    let first = api.post(&path, Some("t1"), &json!({ "amount": "5" })).await;
    assert_eq!(first.status, StatusCode::CREATED);
    assert_eq!(first.body["balance"], "5.00");
    api.pay(&wallet, None, "1").await;
    let again = api
        .post(&path, Some("t1"), &json!({ "amount": "5.0" }))
        .await;
    assert_eq!(again.status, StatusCode::CREATED);
    assert_eq!(again.body, first.body);
    assert_eq!(again.header("idempotency-replayed"), "true");
    let other = api.post(&path, Some("t1"), &json!({ "amount": "6" })).await;
    assert_eq!(other.problem(), "idempotency-key-reused");
    assert_eq!(api.balance(&wallet).await, "4.00");
    api.assert_money_is_conserved().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_key_is_refused_and_a_missing_one_is_made_up() {
    let api = WalletApi::start().await;
    let wallet = api.wallet("10").await;
    for bad in ["", "a b", &"k".repeat(256)] {
        let answer = api.pay(&wallet, Some(bad), "1").await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{bad:?}");
        assert_eq!(answer.problem(), "invalid-idempotency-key");
    }
    let answer = api.pay(&wallet, None, "1").await;
    let made_up = answer.header("idempotency-key");
    let again = api.pay(&wallet, Some(made_up), "1").await;
    assert_eq!(again.id(), answer.id());
    assert_eq!(api.balance(&wallet).await, "9.00");
}
