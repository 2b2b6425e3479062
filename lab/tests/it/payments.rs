//! Payments, from the request to the provider and back to the wallet.

use std::sync::Arc;

use serde_json::json;

use crate::system::System;

#[tokio::test(flavor = "multi_thread")]
async fn a_bill_is_paid_and_its_trace_follows_it_to_the_provider() {
    let system = System::start().await;
    let wallet = system.wallet("10").await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let answer = system
        .client
        .post(format!(
            "http://{}/wallets/{wallet}/pay-bill",
            system.wallet_api
        ))
        .header("content-type", "application/json")
        .header("traceparent", format!("00-{trace}-b7ad6b7169203331-01"))
        .body(json!({ "amount": "2.50", "account_number": "WIFI-7" }).to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 202);
    let payment: serde_json::Value = answer.json().await.unwrap();
    let id = payment["id"].as_str().unwrap();
    let ended = system.ended(id).await;
    assert_eq!(ended["status"], "paid");
    let received = system.received(id).await;
    assert_eq!(received["receipt"], ended["receipt"]);
    assert_eq!(received["amount"], "2.50");
    assert_eq!(received["account_number"], "WIFI-7");
    assert_eq!(received["calls"], 1);
    assert!(
        received["traceparent"].as_str().unwrap().contains(trace),
        "{received}"
    );
    let message = system.wallet_events.next().await;
    assert_eq!(message.key.as_deref(), Some(wallet.as_bytes()));
    assert!(message.header("traceparent").unwrap().contains(trace));
    assert_eq!(system.balance(&wallet).await, "7.50");
    system.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declined_bill_is_refunded() {
    let system = System::start().await;
    let behaviour = json!({ "declined_accounts": ["WIFI-CLOSED"] });
    let url = format!("http://{}/behaviour", system.provider);
    let request = system
        .client
        .put(url)
        .header("content-type", "application/json");
    let answer = request.body(behaviour.to_string()).send().await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
    let wallet = system.wallet("10").await;
    let (_, payment) = system.pay(&wallet, None, "WIFI-CLOSED").await;
    let id = payment["id"].as_str().unwrap();
    let ended = system.ended(id).await;
    assert_eq!(ended["status"], "refunded", "{ended}");
    assert!(!ended["reason"].as_str().unwrap().is_empty());
    assert_eq!(system.balance(&wallet).await, "10.00");
    assert_eq!(system.received(id).await["status"], "declined");
    system.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_key_reaches_the_provider_once() {
    let system = System::start().await;
    let wallet = system.wallet("10").await;
    let (_, first) = system.pay(&wallet, Some("bill-1"), "WIFI-1").await;
    system.ended(first["id"].as_str().unwrap()).await;
    let (status, again) = system.pay(&wallet, Some("bill-1"), "WIFI-1").await;
    assert_eq!((status, &again), (202, &first));
    let list = system.look(&system.provider, "/payments").await;
    assert_eq!((&list["calls"], &list["accepted"]), (&json!(1), &json!(1)));
    assert_eq!(system.balance(&wallet).await, "9.00");
    system.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_200_concurrent_payments_with_funds_for_100_exactly_100_are_paid() {
    let system = Arc::new(System::start().await);
    let wallet = system.wallet("100").await;
    let mut requests = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let (system, wallet) = (Arc::clone(&system), wallet.clone());
        requests.spawn(async move { system.pay(&wallet, None, "WIFI-1").await });
    }
    let answers = requests.join_all().await;
    let (accepted, declined): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|(status, _)| *status == 202);
    assert_eq!(accepted.len(), 100);
    assert!(
        declined.iter().all(|(status, _)| *status == 422),
        "{declined:?}"
    );
    for (_, payment) in &accepted {
        let ended = system.ended(payment["id"].as_str().unwrap()).await;
        assert_eq!(ended["status"], "paid");
    }
    let list = system.look(&system.provider, "/payments").await;
    assert_eq!(list["accepted"], 100);
    assert_eq!(system.balance(&wallet).await, "0.00");
    system.assert_settled().await;
}
