//! `lab trace` shows what each part knows of one payment.

use diesel_async::SimpleAsyncConnection as _;
use serde_json::{Value, json};
use testkit::eventually;
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
    assert_eq!(trace["pattern"], "outbox");
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
    assert_eq!(debit["amount"], "1", "{debit}");
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

    let output = lab(&system, &["trace", "--last"]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), steps.len() + 1, "{text}");
    assert!(text.contains(&format!("Payment {payment}: paid")), "{text}");
    assert!(!text.contains(&neighbour), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_payment_is_told_to_be_lost_with_what_is_missing() {
    let system = System::start_with(vec![("wallet-api", "LAB", "true".to_owned())]).await;
    let wallet = system.wallet("10").await;
    let payment = crashed_in_dual_write(&system, &wallet).await;
    let trace = eventually("the payment is lost", async || {
        let output = lab(&system, &["trace", &payment, "--json"]).await;
        let trace: Value = serde_json::from_slice(&output.stdout).map_err(|it| it.to_string())?;
        if trace["status"] == "LOST" {
            Ok(trace)
        } else {
            Err(trace.to_string())
        }
    })
    .await;
    let steps: Vec<(&str, &str)> = trace["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| {
            (
                step["where"].as_str().unwrap(),
                step["what"].as_str().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("wallet database", "accepted"),
        ("ledger", "payment posted"),
        ("wallet.events", "no event, and none waits in the outbox"),
        ("bill-payer", "no bill: it never heard of the payment"),
        ("provider", "no payment"),
    ];
    assert_eq!(steps, expected);
    assert_eq!(trace["pattern"], "dual-write");
    assert_eq!(trace["steps"][0]["detail"]["pattern"], "dual-write");
    assert_eq!(trace["steps"][0]["detail"]["amount"], "1");
    assert_eq!(trace["steps"][1]["detail"]["amount"], "1");

    let output = lab(&system, &["trace", &payment]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.starts_with(&format!("Payment {payment}: LOST\n")),
        "{text}"
    );
    assert!(text.contains("debited by the pattern dual-write"), "{text}");
    let repair = format!("payments redrive {payment} --operator YOU");
    assert!(text.trim_end().ends_with(&repair), "{text}");
}

/// A payment that was debited and never published.
pub(crate) async fn crashed_in_dual_write(system: &System, wallet: &str) -> String {
    let pay = format!("http://{}/wallets/{wallet}/pay-bill", system.wallet_api);
    let crash = system
        .client
        .post(pay)
        .header("content-type", "application/json")
        .header("x-pay-pattern", "dual-write")
        .header("x-lab-crash", "between")
        .body(json!({ "amount": "1", "account_number": "WIFI-1" }).to_string());
    assert!(crash.send().await.is_err(), "a crash gives no answer");
    let written = format!("/wallets/{wallet}/payments");
    let written = system.look(&system.wallet_api, &written).await;
    written["items"][0]["id"].as_str().unwrap().to_owned()
}

/// A payment that wallet-api never made.
#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_only_the_provider_knows_is_unknown_to_the_wallet() {
    let system = System::start().await;
    let wallet = system.wallet("10").await;
    let payment = system.accepted(&wallet).await;
    system.ended(&payment).await;
    for (database, tables) in [
        (&system.wallet_database, "transfers, payments, inbox"),
        (&system.bill_payer_database, "bill_attempts, bills"),
    ] {
        let forget = format!("set session_replication_role = replica; truncate {tables} cascade");
        let mut conn = database.connect().await;
        conn.batch_execute(&forget).await.unwrap();
    }
    let output = lab(&system, &["trace", &payment]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.starts_with(&format!("Payment {payment}: unknown to the wallet\n")),
        "{text}"
    );
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
