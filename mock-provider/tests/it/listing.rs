//! What was received can be read back.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::setup::{Api, provider};

#[tokio::test]
async fn a_payment_is_told_with_its_calls_and_its_trace() {
    let (_provider, api) = provider().await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let body = crate::setup::bill("99.90");
    let request = api.payment("key", &body).header("traceparent", trace);
    let receipt = api.send(request).await.body["receipt"].clone();
    api.send(api.payment("key", &body)).await;
    let expected = json!({
        "reference": "key", "status": "accepted", "receipt": receipt, "calls": 2,
        "amount": "99.90", "currency": "INR", "provider": "wifi", "account_number": "WIFI-1",
        "traceparent": trace,
    });
    let one = api.get("/payments/key").await;
    assert_eq!((one.status, &one.body), (200, &expected));
    assert_eq!(
        api.get("/payments").await.body,
        json!({"calls": 2, "accepted": 1, "payments": [expected], "next_before": null})
    );
}

#[tokio::test]
async fn a_malformed_trace_does_not_fail_the_payment() {
    let (_provider, api) = provider().await;
    let body = crate::setup::bill("1");
    let request = api.payment("key", &body).header("traceparent", "nonsense");
    assert_eq!(api.send(request).await.status, 201);
    assert_eq!(
        api.get("/payments/key").await.body["traceparent"],
        Value::Null
    );
}

#[tokio::test]
async fn payments_are_paged_newest_first() {
    let (_provider, api) = provider().await;
    for number in 0..60 {
        api.pay(&format!("key-{number}")).await;
    }
    let page = api.get("/payments").await.body;
    assert_eq!(page["payments"].as_array().unwrap().len(), 50);
    assert_eq!(page["payments"][0]["reference"], "key-59");
    let mut seen = Vec::new();
    let mut query = "limit=7".to_owned();
    loop {
        let page = api.get(&format!("/payments?{query}")).await.body;
        for payment in page["payments"].as_array().unwrap() {
            seen.push(payment["reference"].as_str().unwrap().to_owned());
        }
        let Some(cursor) = page["next_before"].as_u64() else {
            break;
        };
        query = format!("limit=7&before={cursor}");
    }
    let newest_first: Vec<String> = (0..60).rev().map(|it| format!("key-{it}")).collect();
    assert_eq!(seen, newest_first);
}

#[tokio::test]
async fn thousands_of_payments_are_listed_quickly() {
    let (_provider, api) = provider().await;
    let numbers: Vec<u32> = (0..3_000).collect();
    for numbers in numbers.chunks(50) {
        let payments = numbers.iter().map(async |number| {
            let reply = api.pay(&format!("key-{number}")).await;
            assert_eq!(reply.status, 201);
        });
        join_all(payments).await;
    }
    let begun = Instant::now();
    let all = all_references(&api).await;
    let elapsed = begun.elapsed();
    assert_eq!(all.len(), 3_000);
    assert!(elapsed < Duration::from_secs(3), "{elapsed:?}");
}

async fn all_references(api: &Api) -> std::collections::HashSet<String> {
    let mut references = std::collections::HashSet::new();
    let mut path = "/payments?limit=1000".to_owned();
    loop {
        let page = api.get(&path).await.body;
        let payments = page["payments"].as_array().unwrap();
        // A page has at most 500.
        assert_eq!(payments.len(), 500);
        for payment in payments {
            references.insert(payment["reference"].as_str().unwrap().to_owned());
        }
        let Some(cursor) = page["next_before"].as_u64() else {
            return references;
        };
        path = format!("/payments?limit=1000&before={cursor}");
    }
}

#[tokio::test]
async fn deleting_forgets_the_payments_and_keeps_the_behaviour() {
    let (_provider, api) = provider().await;
    let behaviour = json!({"declined_accounts": ["WIFI-9"]});
    let behaviour = api.behave(behaviour).await.body;
    let before = api.pay("key").await.body;
    api.cancel("cancelled").await;
    let reply = api.send(api.request("DELETE", "/payments")).await;
    assert_eq!(reply.status, 204);
    assert_eq!(
        api.get("/payments").await.body,
        json!({"calls": 0, "accepted": 0, "payments": [], "next_before": null})
    );
    assert_eq!(api.get("/behaviour").await.body, behaviour);
    let after = api.pay("key").await;
    assert_eq!(after.status, 201);
    assert_ne!(after.body["receipt"], before["receipt"]);
    assert_eq!(api.pay("cancelled").await.status, 201);
}
