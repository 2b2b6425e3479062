//! Parked bills: asked for again under their key when an operator says so, and never paid or refunded on a guess.

use axum::http::StatusCode;
use bill_payer::domain::{AttemptState, Call, PaymentResult};
use bill_payer::store::ClaimedBill;
use chassis::TraceContext;
use diesel_async::SimpleAsyncConnection as _;
use events::BillPaymentRequested;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{BillPayer, Running, client, counts, quick, request};

const REASON: &str = "the provider did not answer in time";

/// Takes bills in and parks them, as cancellations without an answer do.
async fn parked(payer: &BillPayer, requests: &[BillPaymentRequested]) {
    payer.take_all(requests).await;
    let mut conn = payer.database.connect().await;
    let park = format!(
        "update bills set status = 'cancelling'; \
         update bills set status = 'parked', attempts = 20, last_error = '{REASON}'"
    );
    conn.batch_execute(&park).await.unwrap();
}

/// Has the provider take the money without anybody hearing of it.
async fn paid_unheard(payer: &BillPayer, request: &BillPaymentRequested) {
    let bill = ClaimedBill {
        request: request.clone(),
        trace: TraceContext::start(),
        call: Call::Pay,
        attempt_state: AttemptState {
            attempts: 1,
            failing_for: std::time::Duration::ZERO,
        },
        claim: Uuid::nil(),
    };
    let answer = client(&payer.provider.url(), 10_000).pay(&bill).await;
    assert!(
        matches!(answer, PaymentResult::Accepted { .. }),
        "{answer:?}"
    );
}

async fn retry(payer: &BillPayer, payment_id: Uuid, order: Value) -> (StatusCode, Value) {
    let path = format!("/bills/{payment_id}/retry");
    payer.post(&path, "asha", order).await
}

#[tokio::test]
async fn a_parked_bill_ends_as_the_provider_says_when_it_can_be_asked_again() {
    let payer = BillPayer::start().await;
    for (took_the_money, ask, status) in [
        (false, json!({}), "failed"),
        (true, json!({}), "paid"),
        (false, json!({ "ask": "cancel" }), "failed"),
        (
            true,
            json!({ "ask": "cancel", "note": "it is back" }),
            "paid",
        ),
        (false, json!({ "ask": "pay" }), "paid"),
        (true, json!({ "ask": "pay" }), "paid"),
    ] {
        let request = request("WIFI-1");
        let payment = request.payment_id;
        parked(&payer, std::slice::from_ref(&request)).await;
        if took_the_money {
            paid_unheard(&payer, &request).await;
        }
        let (code, bill) = retry(&payer, payment, ask.clone()).await;
        assert_eq!(code, StatusCode::OK, "{bill}");
        let executor = Running::start(payer.executor(quick()));
        let bill = payer.becomes(payment, status).await;
        executor.stop().await;
        let (at_provider, receipt, _) = payer.at_provider(payment).await.unwrap();
        assert_eq!(bill["receipt"], receipt, "{ask}");
        assert_eq!(at_provider == "accepted", status == "paid", "{ask}");
        let mut conn = payer.database.connect().await;
        conn.batch_execute("delete from bills").await.unwrap();
    }
    assert_eq!(payer.events().await.len(), 6);
    let actions = payer.get("/operator-actions").await.1;
    assert_eq!(actions["items"].as_array().unwrap().len(), 6);
}

#[tokio::test]
async fn a_bill_that_was_refused_to_be_paid_is_refunded_when_it_is_asked_to_be_paid() {
    let payer = BillPayer::start().await;
    let request = request("WIFI-1");
    parked(&payer, std::slice::from_ref(&request)).await;
    // The cancellation had arrived; nobody had heard so.
    let url = format!(
        "{}/payments/{}/cancel",
        payer.provider.url(),
        request.payment_id
    );
    let cancelled = crate::support::http().post(url).send().await.unwrap();
    assert_eq!(cancelled.status(), StatusCode::OK);
    let executor = Running::start(payer.executor(quick()));
    retry(&payer, request.payment_id, json!({ "ask": "pay" })).await;
    payer.becomes(request.payment_id, "failed").await;
    executor.stop().await;
    let (status, _, _) = payer.at_provider(request.payment_id).await.unwrap();
    assert_eq!(status, "cancelled");
}

#[tokio::test]
async fn only_a_parked_bill_is_retried() {
    let payer = BillPayer::start().await;
    let payment = payer.take("WIFI-1").await;
    let (code, problem) = retry(&payer, payment, json!({})).await;
    assert_eq!(code, StatusCode::CONFLICT);
    assert_eq!(problem["type"], "urn:problem:bill-not-parked");
    let executor = Running::start(payer.executor(quick()));
    payer.becomes(payment, "paid").await;
    assert_eq!(
        retry(&payer, payment, json!({})).await.0,
        StatusCode::CONFLICT
    );
    executor.stop().await;
    let actions = payer.get("/operator-actions").await.1;
    assert_eq!(actions["items"], json!([]));
}

#[tokio::test]
async fn all_parked_bills_of_one_reason_are_retried_and_no_others() {
    let payer = BillPayer::start().await;
    let requests: Vec<_> = (0..5).map(|_| request("WIFI-1")).collect();
    parked(&payer, &requests).await;
    let mut conn = payer.database.connect().await;
    let other = requests[0].payment_id;
    let another = format!("update bills set last_error = 'refused' where payment_id = '{other}'");
    conn.batch_execute(&another).await.unwrap();
    let order = json!({ "reason": "the provider did not", "note": "it is back" });
    let (code, answer) = payer.post("/bills/retry", "asha", order).await;
    assert_eq!(code, StatusCode::OK, "{answer}");
    assert_eq!(answer, json!({ "retried": 4, "more": false }));
    counts(&payer.database, "cancelling", 4).await;
    assert_eq!(payer.bill(other).await["status"], "parked");
    let actions = payer.get("/operator-actions").await.1;
    let actions = actions["items"].as_array().unwrap();
    assert_eq!(actions.len(), 4);
    assert!(
        actions.iter().all(|it| it["note"] == "it is back"),
        "{actions:?}"
    );
}

#[tokio::test]
async fn a_retried_bill_that_still_cannot_be_asked_for_is_parked_again() {
    let payer = BillPayer::start().await;
    let request = request("WIFI-1");
    parked(&payer, std::slice::from_ref(&request)).await;
    let mut config = quick();
    config.cancel_attempts_max = 2;
    let nobody = client("http://127.0.0.1:1", 200);
    let executor = Running::start(payer.executor_of(config, nobody));
    retry(&payer, request.payment_id, json!({})).await;
    let bill = payer.becomes(request.payment_id, "parked").await;
    executor.stop().await;
    let cause = bill["last_error"].as_str().unwrap();
    assert!(
        cause.starts_with("the provider can't be reached"),
        "{cause}"
    );
    assert_eq!(bill["calls"].as_array().unwrap().len(), 2);
    assert_eq!(payer.events().await.len(), 0);
}
