//! Every call that was answered or given up leaves a row, that says what became of it.

use std::time::Duration;

use bill_payer::domain::{
    CallResult, CancellationResult, NextStep, PaymentResult, Status, UnknownCause,
};
use bill_payer::record::{CallRecord, Decision, record};
use bill_payer::store::{self, ClaimedBill};
use diesel_async::RunQueryDsl as _;
use mock_provider::Behaviour;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{BillPayer, Running, client, quick};

/// Call, attempt, how often, outcome and verdict of each row of a bill.
async fn calls(payer: &BillPayer, payment_id: Uuid) -> Vec<(String, i64, i64, String, String)> {
    let bill = payer.bill(payment_id).await;
    let rows = bill["calls"].as_array().unwrap().iter();
    let text = |row: &Value, field: &str| row[field].as_str().unwrap().to_owned();
    rows.map(|row| {
        (
            text(row, "call"),
            row["attempt"].as_i64().unwrap(),
            row["times"].as_i64().unwrap(),
            text(row, "outcome"),
            text(row, "verdict"),
        )
    })
    .collect()
}

fn row(
    call: &str,
    attempt: i64,
    outcome: &str,
    verdict: &str,
) -> (String, i64, i64, String, String) {
    let (outcome, verdict) = (outcome.to_owned(), verdict.to_owned());
    (call.to_owned(), attempt, 1, outcome, verdict)
}

async fn claim(payer: &BillPayer) -> ClaimedBill {
    let mut conn = payer.pool.get().await.unwrap();
    let claimed = store::claim(&mut conn, None, 1, Duration::from_secs(60)).await;
    claimed.unwrap().remove(0)
}

/// What is to be recorded of an answer.
fn decisions(bill: &ClaimedBill, answer: &CallResult, next: NextStep) -> Decision {
    Decision {
        bill: bill.clone(),
        next,
        wait: Duration::ZERO,
        call: Some(CallRecord {
            took: Duration::from_millis(7),
            outcome: answer.label(),
            detail: answer.detail(),
        }),
    }
}

async fn recorded(payer: &BillPayer, decisions: &[Decision]) {
    let mut conn = payer.pool.get().await.unwrap();
    record(&mut conn, decisions).await.unwrap();
}

#[tokio::test]
async fn each_call_leaves_a_row_with_what_was_answered() {
    let payer = BillPayer::start().await;
    payer.behave(Behaviour {
        timeout_share: 1.0,
        ..Behaviour::default()
    });
    let mut config = quick();
    config.pay_attempts_max = 2;
    let executor = Running::start(payer.executor_of(config, client(&payer.provider.url(), 200)));
    let payment = payer.take("WIFI-1").await;
    let bill = payer.becomes(payment, "paid").await;
    executor.stop().await;
    assert_eq!(
        calls(&payer, payment).await,
        [
            row("pay", 1, "timeout", "recorded"),
            row("pay", 2, "timeout", "recorded"),
            row("cancel", 1, "already_paid", "recorded"),
        ]
    );
    let rows = bill["calls"].as_array().unwrap();
    assert_eq!(rows[0]["detail"], "the provider did not answer in time");
    assert!(rows[0]["took_ms"].as_i64().unwrap() >= 190, "{}", rows[0]);
    assert_eq!(rows[2]["detail"], bill["receipt"]);
}

#[tokio::test]
async fn a_late_answer_after_a_cancel_moves_nothing_and_is_shown() {
    let payer = BillPayer::start().await;
    let payment = payer.take("WIFI-1").await;
    let late = claim(&payer).await;
    payer.let_time_pass().await;
    let held = claim(&payer).await;
    let unknown = CallResult::Payment(PaymentResult::Unknown(UnknownCause::Timeout));
    let cancel = NextStep::BeginCancelling {
        cause: UnknownCause::Timeout,
    };
    recorded(&payer, &[decisions(&held, &unknown, cancel)]).await;
    payer.let_time_pass().await;
    let held = claim(&payer).await;
    let cancelled = CallResult::Cancellation(CancellationResult::Cancelled);
    let failed = NextStep::Failed {
        reason: "cancelled".to_owned(),
    };
    recorded(&payer, &[decisions(&held, &cancelled, failed.clone())]).await;
    // What the first call hears now: refused, as it must be, and then what must never be.
    let refused = CallResult::Payment(PaymentResult::Declined {
        reason: "cancelled".to_owned(),
    });
    recorded(&payer, &[decisions(&late, &refused, failed)]).await;
    let stale = row("pay", 1, "declined", "stale");
    assert_eq!(calls(&payer, payment).await.pop(), Some(stale));
    let accepted = CallResult::Payment(PaymentResult::Accepted {
        receipt: "R-1".to_owned(),
    });
    let paid = NextStep::Paid {
        receipt: "R-1".to_owned(),
    };
    recorded(&payer, &[decisions(&late, &accepted, paid)]).await;
    let bill = payer.bill(payment).await;
    let shown = bill["calls"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (
            &shown["verdict"],
            &shown["outcome"],
            &shown["detail"],
            &shown["times"]
        ),
        (
            &json!("contradiction"),
            &json!("accepted"),
            &json!("R-1"),
            &json!(2)
        )
    );
    assert_eq!(
        (&bill["status"], &bill["receipt"]),
        (&json!("failed"), &Value::Null)
    );
    assert_eq!(payer.events().await.len(), 1);
}

#[tokio::test]
async fn two_answers_under_one_number_in_one_batch_make_one_row() {
    let payer = BillPayer::start().await;
    let payment = payer.take("WIFI-1").await;
    let bill = claim(&payer).await;
    let unknown = CallResult::Payment(PaymentResult::Unknown(UnknownCause::Timeout));
    let retry = NextStep::Retry {
        failures: 1,
        cause: UnknownCause::Timeout,
    };
    let twice = [
        decisions(&bill, &unknown, retry.clone()),
        decisions(&bill, &unknown, retry),
    ];
    recorded(&payer, &twice).await;
    let one = row("pay", 1, "timeout", "stale");
    assert_eq!(calls(&payer, payment).await, [one]);
}

#[tokio::test]
async fn rows_go_with_their_bill_and_cannot_come_without_it() {
    let payer = BillPayer::start().await;
    let executor = Running::start(payer.executor(quick()));
    let payment = payer.take("WIFI-1").await;
    payer.becomes(payment, "paid").await;
    executor.stop().await;
    let mut conn = payer.database.connect().await;
    let rows = "select from bill_attempts";
    assert_eq!(diesel::sql_query(rows).execute(&mut conn).await, Ok(1));
    let deleted = diesel::sql_query("delete from bills")
        .execute(&mut conn)
        .await;
    assert_eq!(deleted, Ok(1));
    assert_eq!(diesel::sql_query(rows).execute(&mut conn).await, Ok(0));
}

#[tokio::test]
async fn a_bill_keeps_what_it_is_about_and_moves_forward_in_the_database_too() {
    let payer = BillPayer::start().await;
    let payment = payer.take("WIFI-1").await;
    let mut conn = payer.database.connect().await;
    for (change, allowed) in [
        ("amount = 1", false),
        ("account_number = 'WIFI-2'", false),
        ("wallet_id = payment_id", false),
        ("status = 'parked', last_error = 'no answer'", false),
        ("status = 'cancelling'", true),
        ("status = 'paying'", false),
        ("status = 'parked', last_error = 'no answer'", true),
        ("status = 'paying'", true),
        ("status = 'cancelling'", true),
        ("status = 'failed', last_error = 'cancelled'", true),
        ("status = 'cancelling'", false),
    ] {
        let update = format!("update bills set {change}");
        let updated = diesel::sql_query(&update).execute(&mut conn).await;
        match updated {
            Ok(rows) => assert!(allowed && rows == 1, "{update}"),
            Err(error) => assert!(!allowed, "{update}: {error}"),
        }
    }
    assert_eq!(
        payer.bill(payment).await["status"],
        Status::Failed.into_str()
    );
}
