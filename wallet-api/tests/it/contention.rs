//! Requests that meet in the database: what may pass is tried again, within bounds.

use std::sync::Arc;

use axum::http::StatusCode;
use diesel_async::SimpleAsyncConnection as _;
use serde_json::json;

use crate::support::WalletApi;

#[tokio::test(flavor = "multi_thread")]
async fn contended_requests_succeed_whatever_isolation_the_database_has_by_default() {
    for isolation in ["repeatable read", "serializable"] {
        let api = Arc::new(WalletApi::start().await);
        // Before the pool makes its first connection.
        let alter = format!(
            "do $$ begin execute format( \
                 'alter database %I set default_transaction_isolation = ''{isolation}''', current_database()); \
             end $$"
        );
        let mut conn = api.database.connect().await;
        conn.batch_execute(&alter).await.unwrap();
        let wallet = api.wallet("0").await;
        let mut requests = tokio::task::JoinSet::new();
        for number in 0..60 {
            let (api, wallet) = (Arc::clone(&api), wallet.clone());
            requests.spawn(async move {
                let (path, body) = match number % 3 {
                    0 => (
                        "/wallets".to_owned(),
                        json!({ "currency": "USD", "opening_balance": "1" }),
                    ),
                    _ => (
                        format!("/wallets/{wallet}/top-ups"),
                        json!({ "amount": "1" }),
                    ),
                };
                api.post(&path, None, &body).await
            });
        }
        for answer in requests.join_all().await {
            assert_eq!(
                answer.status,
                StatusCode::CREATED,
                "{isolation}: {answer:?}"
            );
        }
        assert_eq!(api.balance(&wallet).await, "40.00", "{isolation}");
        api.assert_money_is_conserved().await;
    }
}

/// Fails the first `times` transfers as a serialization failure does.
async fn fail(api: &WalletApi, times: u32) {
    let mut conn = api.database.connect().await;
    let trap = format!(
        "create sequence tries; \
         create function fail() returns trigger language plpgsql as $$ begin \
             if nextval('tries') <= {times} then \
                 raise exception 'could not serialize access' using errcode = 'serialization_failure'; \
             end if; \
             return new; \
         end $$; \
         create trigger fail before insert on transfers for each row execute function fail()"
    );
    conn.batch_execute(&trap).await.expect("the trap is set");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_serialization_failure_is_tried_again_and_adds_once() {
    let api = WalletApi::start().await;
    let wallet = api.wallet("0").await;
    fail(&api, 3).await;
    let path = format!("/wallets/{wallet}/top-ups");
    let topped_up = api.post(&path, Some("t"), &json!({ "amount": "5" })).await;
    assert_eq!(topped_up.status, StatusCode::CREATED, "{topped_up:?}");
    assert_eq!(topped_up.header("idempotency-replayed"), "");
    assert_eq!(api.balance(&wallet).await, "5.00");
    assert_eq!(api.count("select last_value as count from tries").await, 4);

    let mut conn = api.database.connect().await;
    conn.batch_execute("alter sequence tries restart")
        .await
        .unwrap();
    let made = api.wallet("7").await;
    assert_eq!(api.balance(&made).await, "7.00");
    assert_eq!(api.count("select last_value as count from tries").await, 4);
    api.assert_money_is_conserved().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_that_does_not_pass_is_answered_503_after_a_bounded_number_of_tries() {
    let api = WalletApi::start().await;
    let wallet = api.wallet("0").await;
    fail(&api, 1_000).await;
    let path = format!("/wallets/{wallet}/top-ups");
    let wallets = json!({ "currency": "INR", "opening_balance": "5" });
    for (path, body) in [
        (path.as_str(), &json!({ "amount": "5" })),
        ("/wallets", &wallets),
    ] {
        let answer = api.post(path, Some("t"), body).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert_eq!(answer.problem(), "unavailable", "{path}");
        assert_eq!(answer.header("retry-after"), "1", "{path}");
        assert_eq!(answer.header("idempotency-key"), "t", "{path}");
    }
    let tries = api.count("select last_value as count from tries").await;
    assert!((4..=16).contains(&tries), "{tries} tries");
    assert_eq!(api.count("select count(*) from wallets").await, 1);
    assert_eq!(api.count("select count(*) from transfers").await, 0);
}
