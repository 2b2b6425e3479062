//! The same key: the same answer, and the money once.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::setup::{bill, provider};

#[tokio::test]
async fn the_same_key_and_body_gets_the_same_receipt_and_pays_once() {
    let (_provider, api) = provider().await;
    let first = api.pay("key-1").await;
    assert_eq!(first.status, 201);
    let receipt = first.body["receipt"].as_str().unwrap();
    assert_eq!(
        first.body,
        json!({
            "reference": "key-1", "status": "accepted", "receipt": receipt,
            "amount": "100.00", "currency": "INR", "provider": "wifi", "account_number": "WIFI-1",
        })
    );
    let again = api.pay("key-1").await;
    assert_eq!(again.status, 200);
    assert_eq!(again.body, first.body);
    assert_eq!(api.counts().await, (2, 1));

    let other = api.pay("key-2").await;
    assert_eq!(other.status, 201);
    assert_ne!(other.body["receipt"], first.body["receipt"]);
    assert_eq!(api.counts().await, (3, 2));
}

#[tokio::test]
async fn the_same_key_at_once_pays_once() {
    let (_provider, api) = provider().await;
    let replies = join_all((0..50).map(|_| api.pay("key"))).await;
    let created = replies.iter().filter(|reply| reply.status == 201).count();
    let repeated = replies.iter().filter(|reply| reply.status == 200).count();
    assert_eq!((created, repeated), (1, 49));
    assert!(replies.iter().all(|reply| reply.body == replies[0].body));
    assert_eq!(api.counts().await, (50, 1));
}

#[tokio::test]
async fn the_same_key_with_another_body_is_refused() {
    let (_provider, api) = provider().await;
    api.pay("key").await;
    let others: [fn(&mut Value); 4] = [
        // Amounts are texts: an equal number is another body.
        |body| body["amount"] = json!("100.0"),
        |body| body["currency"] = json!("USD"),
        |body| body["provider"] = json!("fibre"),
        |body| body["account_number"] = json!("WIFI-2"),
    ];
    for change in others {
        let mut body = bill("100.00");
        change(&mut body);
        let reply = api.send(api.payment("key", &body)).await;
        assert_eq!(
            (reply.status, reply.problem()),
            (409, "key-reused"),
            "{body}"
        );
    }
    assert_eq!(api.counts().await, (5, 1));
    assert_eq!(api.pay("key").await.status, 200);
}

#[tokio::test]
async fn a_declined_key_stays_declined() {
    let (_provider, api) = provider().await;
    api.behave(json!({"declined_accounts": ["WIFI-1"]})).await;
    let first = api.pay("key").await;
    assert_eq!((first.status, first.problem()), (422, "payment-declined"));
    api.behave(json!({})).await;
    assert_eq!(api.pay("key").await, first);
    let reused = api.send(api.payment("key", &bill("1"))).await;
    assert_eq!((reused.status, reused.problem()), (409, "key-reused"));
    assert_eq!(api.counts().await, (3, 0));
    assert_eq!(api.pay("another").await.status, 201);
}
