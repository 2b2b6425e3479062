//! A cancelled key is refused from then on; money that was taken is told.

use serde_json::json;

use crate::setup::provider;

#[tokio::test]
async fn an_unseen_key_that_was_cancelled_is_never_accepted() {
    let (_provider, api) = provider().await;
    let cancelled = json!({
        "reference": "key", "status": "cancelled", "receipt": null,
        "amount": null, "currency": null, "provider": null, "account_number": null,
    });
    for _ in 0..2 {
        let reply = api.cancel("key").await;
        assert_eq!((reply.status, reply.body), (200, cancelled.clone()));
    }
    for _ in 0..2 {
        let reply = api.pay("key").await;
        assert_eq!((reply.status, reply.problem()), (422, "payment-cancelled"));
    }
    assert_eq!(api.cancel("key").await.body, cancelled);
    assert_eq!(api.counts().await, (2, 0));
    assert_eq!(
        api.get("/payments/key").await.body,
        json!({
            "reference": "key", "status": "cancelled", "receipt": null, "calls": 2,
            "amount": null, "currency": null, "provider": null, "account_number": null,
            "traceparent": null,
        })
    );
}

#[tokio::test]
async fn a_payment_whose_money_was_taken_is_not_cancelled() {
    let (_provider, api) = provider().await;
    let paid = api.pay("key").await.body;
    let reply = api.cancel("key").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.body, paid, "with the bill that was paid");
    let again = api.pay("key").await;
    assert_eq!((again.status, again.body), (200, paid));
}

#[tokio::test]
async fn a_payment_that_only_failed_or_was_declined_can_be_cancelled() {
    let (_provider, api) = provider().await;
    api.behave(json!({"server_error_share": 1})).await;
    assert_eq!(api.pay("failed").await.status, 500);
    api.behave(json!({"decline_share": 1})).await;
    assert_eq!(api.pay("declined").await.status, 422);
    api.behave(json!({})).await;
    for key in ["failed", "declined"] {
        assert_eq!(api.cancel(key).await.body["status"], "cancelled");
        assert_eq!(api.pay(key).await.problem(), "payment-cancelled");
    }
    assert_eq!(api.counts().await, (4, 0));
    assert_eq!(api.get("/payments/failed").await.body["calls"], 2);
}

#[tokio::test]
async fn a_payment_whose_answer_was_lost_is_told_as_taken() {
    let (_provider, api) = provider().await;
    api.behave(json!({"timeout_share": 1, "timeout_ms": 60_000}))
        .await;
    let lost = api.payment("key", &crate::setup::bill("1"));
    let lost = tokio::spawn(lost.send());
    let receipt = crate::setup::eventually("taken", async || {
        let payment = api.get("/payments/key").await;
        let receipt = payment.body["receipt"].as_str().map(str::to_owned);
        receipt.ok_or_else(|| format!("{payment:?}"))
    })
    .await;
    lost.abort();
    let told = api.cancel("key").await.body;
    assert_eq!(told["status"], "accepted");
    assert_eq!(told["receipt"], json!(receipt));
}
