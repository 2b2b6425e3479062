//! Promise 6, for every route that changes something: what is asked for twice is done once.
//!
//! The routes are read from the router itself. A new one fails the test until it has a case here.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::dead_letters::{letter, restore, take};
use crate::settlement::failed;
use crate::support::{Answer, WalletApi};

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a case for each route")]
async fn what_a_mutating_route_is_asked_twice_it_does_once() {
    let api = WalletApi::start().await;
    let wallet = api.wallet("100").await;
    let mut routes = testkit::routes(&api.router).await;
    routes.retain(|route| !route.starts_with("GET "));
    for route in routes {
        match route.as_str() {
            "POST /wallets" => {
                let body = |balance| json!({ "currency": "INR", "opening_balance": balance });
                once_a_key(&api, "/wallets", &body("5"), &body("6")).await;
            }
            "POST /wallets/{id}/top-ups" => {
                let path = format!("/wallets/{wallet}/top-ups");
                let body = |amount| json!({ "amount": amount });
                once_a_key(&api, &path, &body("5"), &body("6")).await;
            }
            "POST /wallets/{id}/pay-bill" => {
                let path = format!("/wallets/{wallet}/pay-bill");
                let body = |amount| json!({ "amount": amount, "account_number": "W" });
                once_a_key(&api, &path, &body("5"), &body("6")).await;
            }
            "POST /dead-letters/{id}/retry" => {
                let id = takeable_letter(&api, &wallet, 0).await;
                let path = format!("/dead-letters/{id}/retry");
                let taken = order(&api, &path, &json!({})).await;
                assert_eq!(taken.body["outcome"], "taken", "{taken:?}");
                let done = effects(&api).await;
                let again = order(&api, &path, &json!({})).await;
                assert_eq!(again.problem(), "dead-letter-ended");
                assert_eq!(effects(&api).await, done);
            }
            "POST /dead-letters/retry" => {
                takeable_letter(&api, &wallet, 1).await;
                let body = json!({ "reason": "no pending payment" });
                let taken = order(&api, "/dead-letters/retry", &body).await;
                assert_eq!(taken.body["taken"], 1, "{taken:?}");
                let done = effects(&api).await;
                let again = order(&api, "/dead-letters/retry", &body).await;
                assert_eq!(again.body["taken"], 0, "{again:?}");
                assert_eq!(effects(&api).await, done);
            }
            "POST /dead-letters/{id}/discard" => {
                let nobodys = failed(2, &wallet, &Uuid::now_v7().to_string(), "2.00");
                take(&api, &nobodys).await;
                let id = letter(&api).await["id"].clone();
                let path = format!("/dead-letters/{id}/discard");
                let note = json!({ "note": "a test" });
                let discarded = order(&api, &path, &note).await;
                assert_eq!(discarded.status, StatusCode::NO_CONTENT);
                let done = effects(&api).await;
                let again = order(&api, &path, &note).await;
                assert_eq!(again.problem(), "dead-letter-ended");
                assert_eq!(effects(&api).await, done);
            }
            "POST /dead-letters/discard" => {
                let nobodys = failed(3, &wallet, &Uuid::now_v7().to_string(), "2.00");
                take(&api, &nobodys).await;
                let body = json!({ "reason": "no pending payment", "note": "a test" });
                let discarded = order(&api, "/dead-letters/discard", &body).await;
                assert_eq!(discarded.body["discarded"], 1, "{discarded:?}");
                let done = effects(&api).await;
                let again = order(&api, "/dead-letters/discard", &body).await;
                assert_eq!(again.body["discarded"], 0, "{again:?}");
                assert_eq!(effects(&api).await, done);
            }
            // Each redrive appends the event again, under the payment's id: it moves no money here, and each step after
            // it takes a payment once.
            "POST /payments/{id}/redrive" => {
                let payment = api.pay(&wallet, None, "1").await.id();
                redrive(&api, &format!("/payments/{payment}/redrive"), &json!({})).await;
            }
            "POST /payments/redrive" => {
                redrive(&api, "/payments/redrive", &json!({ "pending_for": "0s" })).await;
            }
            _ => panic!(
                "{route} has no case here: it takes an Idempotency-Key, or a case shows that it is idempotent by state"
            ),
        }
    }
    api.assert_money_is_conserved().await;
}

/// The same key with the same body gets the same answer and does nothing; with `other` it is refused.
async fn once_a_key(api: &WalletApi, path: &str, body: &Value, other: &Value) {
    let first = api.post(path, Some("k"), body).await;
    assert!(first.status.is_success(), "{path}: {first:?}");
    assert_eq!(first.header("idempotency-replayed"), "", "{path}");
    let done = effects(api).await;
    let again = api.post(path, Some("k"), body).await;
    assert_eq!(again.header("idempotency-replayed"), "true", "{path}");
    assert_eq!(again.header("idempotency-key"), "k", "{path}");
    let said = |answer: &Answer| {
        let location = answer.header("location").to_owned();
        (answer.status, answer.body.clone(), location)
    };
    assert_eq!(said(&again), said(&first), "{path}");
    let refused = api.post(path, Some("k"), other).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{path}");
    assert_eq!(refused.problem(), "idempotency-key-reused", "{path}");
    assert_eq!(effects(api).await, done, "{path}");
}

async fn redrive(api: &WalletApi, path: &str, body: &Value) {
    let moved = "select concat_ws(' ', (select sum(balance) from wallets), (select count(*) from transfers), \
        (select count(*) from payments)) as text";
    let before = api.texts(moved).await;
    for _ in 0..2 {
        let answer = order(api, path, body).await;
        assert!(answer.status.is_success(), "{path}: {answer:?}");
    }
    assert_eq!(api.texts(moved).await, before, "{path}");
}

/// A result that came before its payment, which is there by now; its id.
async fn takeable_letter(api: &WalletApi, wallet: &str, offset: i64) -> Value {
    let payment = Uuid::now_v7().to_string();
    take(api, &failed(offset, wallet, &payment, "2.00")).await;
    restore(api, wallet, &payment, &format!("restored-{offset}")).await;
    letter(api).await["id"].clone()
}

async fn order(api: &WalletApi, path: &str, body: &Value) -> Answer {
    let request = Request::post(path)
        .header("content-type", "application/json")
        .header("x-operator", "asha");
    let request = request.body(Body::from(body.to_string()));
    api.send(request.unwrap()).await
}

/// Whatever a request can change.
async fn effects(api: &WalletApi) -> Vec<String> {
    let counted = "select concat_ws(' ', \
        (select count(*) || ':' || sum(balance) from wallets), (select count(*) from transfers), \
        (select count(*) from payments), (select count(*) from outbox), (select count(*) from top_ups), \
        (select count(*) from wallet_keys), (select count(*) from operator_actions), \
        (select count(*) from dead_letters where status = 'open')) as text";
    api.texts(counted).await
}
