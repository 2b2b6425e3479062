//! `lab trace`: every part's word about one payment.

use diesel_async::SimpleAsyncConnection as _;
use serde_json::Value;
use uuid::Uuid;

use crate::audit::lab;
use crate::system::System;

#[tokio::test(flavor = "multi_thread")]
async fn the_life_of_a_payment_is_told_from_the_request_to_the_settlement() {
    let system = System::start().await;
    let wallet = system.wallet("10").await;
    let neighbour = system.accepted(&wallet).await;
    let payment = system.accepted(&wallet).await;
    system.ended(&neighbour).await;
    system.ended(&payment).await;
    let mut conn = system.bill_payer_database.connect().await;
    conn.batch_execute(&format!(
        "insert into bill_attempts (payment_id, call, attempt, took_ms, outcome, verdict) \
         values ('{payment}', 'pay', 7, 42, 'timeout', 'recorded')"
    ))
    .await
    .unwrap();

    let output = lab(&system, &["trace", &payment, "--json"]).await;
    assert!(output.status.success(), "{output:?}");
    let trace: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(trace["payment_id"], payment.as_str());
    assert_eq!(trace["status"], "paid");
    let steps = trace["steps"].as_array().unwrap();
    let told = |place: &str, what: &str| {
        let found = steps
            .iter()
            .filter(|step| step["where"] == place && step["what"] == what);
        let found: Vec<&Value> = found.collect();
        assert_eq!(found.len(), 1, "{place}: {what}: {trace:#}");
        found[0]["detail"].clone()
    };
    assert_eq!(
        told("wallet database", "accepted")["wallet_id"],
        wallet.as_str()
    );
    let debit = told("ledger", "payment posted");
    assert!(
        debit["transaction_id"]
            .as_str()
            .unwrap()
            .parse::<u32>()
            .is_ok()
    );
    assert!(debit["lsn"].as_str().unwrap().contains('/'), "{debit}");
    let request = told("wallet.events", "BillPaymentRequested published");
    assert_eq!(request["outbox_seq"], 2, "{request}");
    assert!(
        request["offset"].is_i64() && request["partition"].is_i64(),
        "{request}"
    );
    told("bill-payer", "bill taken in");
    assert_eq!(told("bill-payer", "call to pay: timeout")["took_ms"], 42);
    let receipt = told("provider", "accepted")["receipt"].clone();
    let result = told("bill.events", "BillPaid published");
    assert_eq!(
        told("wallet inbox", "result taken")["event_id"],
        result["event_id"]
    );
    assert_ne!(
        told("ledger", "settlement posted")["transaction_id"],
        debit["transaction_id"]
    );
    assert_eq!(told("wallet database", "paid")["receipt"], receipt);

    let output = lab(&system, &["trace", &payment]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), steps.len() + 1, "{text}");
    assert!(text.contains(&format!("Payment {payment}: paid")), "{text}");
    assert!(!text.contains(&neighbour), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_nobody_knows_is_an_error() {
    let system = System::start().await;
    let unknown = Uuid::now_v7().to_string();
    let output = lab(&system, &["trace", &unknown]).await;
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains(&format!("nobody knows a payment {unknown}")),
        "{said}"
    );
}
