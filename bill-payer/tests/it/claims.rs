//! A bill belongs to one executor for the time of its lease, and ends once whoever has heard what.

use std::time::Duration;

use bill_payer::domain::{NextStep, Status, UnknownCause};
use bill_payer::record::{Decision, RecordSummary, record};
use bill_payer::store::{self, ClaimedBill};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use mock_provider::Behaviour;
use serde_json::{Value, json};
use testkit::eventually;
use uuid::Uuid;

use crate::support::{BillPayer, quick, request, until_recorded};

const LEASE: Duration = Duration::from_secs(60);

fn paid() -> NextStep {
    NextStep::Paid {
        receipt: "R-1".to_owned(),
    }
}

fn failed() -> NextStep {
    NextStep::Failed {
        reason: "no such account".to_owned(),
    }
}

fn retry() -> NextStep {
    NextStep::Retry {
        failures: 1,
        cause: UnknownCause::Timeout,
    }
}

async fn claim(payer: &BillPayer) -> Vec<ClaimedBill> {
    let mut conn = payer.pool.get().await.unwrap();
    store::claim(&mut conn, None, 10, LEASE).await.unwrap()
}

async fn recorded(payer: &BillPayer, bills: &[(&ClaimedBill, NextStep)]) -> RecordSummary {
    let decisions: Vec<Decision> = bills
        .iter()
        .map(|(bill, next)| Decision {
            bill: (*bill).clone(),
            next: next.clone(),
            wait: Duration::from_secs(30),
            call: None,
        })
        .collect();
    let mut conn = payer.pool.get().await.unwrap();
    record(&mut conn, &decisions).await.unwrap()
}

#[tokio::test]
async fn a_claimed_bill_is_nobody_elses_until_its_lease_ends() {
    let payer = BillPayer::start().await;
    let payment = payer.take("WIFI-1").await;
    let first = claim(&payer).await.remove(0);
    assert_eq!(
        (first.request.payment_id, first.attempt_state.attempts),
        (payment, 1)
    );
    assert!(claim(&payer).await.is_empty());
    payer.let_time_pass().await;
    let second = claim(&payer).await.remove(0);
    assert_eq!(
        (second.request.payment_id, second.attempt_state.attempts),
        (payment, 2)
    );
    assert_ne!(first.claim, second.claim);
}

#[tokio::test]
async fn a_bill_that_is_being_recorded_is_skipped_and_not_waited_for() {
    let payer = BillPayer::start().await;
    let locked = payer.take("WIFI-1").await;
    let free = payer.take("WIFI-2").await;
    let mut other = payer.database.connect().await;
    lock(&mut other, locked).await;
    let claimed = claim(&payer).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].request.payment_id, free);
}

#[tokio::test]
async fn the_bills_that_wait_longest_are_claimed_first() {
    let payer = BillPayer::start().await;
    let first = payer.take("WIFI-1").await;
    let second = payer.take("WIFI-2").await;
    let mut conn = payer.pool.get().await.unwrap();
    for expected in [first, second] {
        let claimed = store::claim(&mut conn, None, 1, LEASE).await.unwrap();
        assert_eq!(claimed[0].request.payment_id, expected);
    }
}

#[tokio::test]
async fn two_executors_that_both_heard_accepted_record_it_once() {
    let payer = BillPayer::start().await;
    payer.behave(Behaviour {
        latency_ms: 500,
        ..Behaviour::default()
    });
    let payment = payer.take("WIFI-1").await;
    let mut slow = payer.executor(quick());
    let mut quick = payer.executor(quick());
    assert_eq!(slow.run_once().await.unwrap().claimed, 1);
    payer.let_time_pass().await;
    assert_eq!(quick.run_once().await.unwrap().claimed, 1);
    let (one, other) = tokio::join!(until_recorded(&mut slow), until_recorded(&mut quick));
    let (one, other) = (one.recorded, other.recorded);
    assert_eq!([one.moved, other.moved].concat(), [(payment, Status::Paid)]);
    assert_eq!([one.stale, other.stale].concat(), [payment]);
    let (_, _, calls) = payer.at_provider(payment).await.unwrap();
    assert_eq!(calls, 2);
    assert_eq!(payer.events().await.len(), 1);
}

#[tokio::test]
async fn what_is_not_known_counts_only_from_the_executor_that_has_the_bill() {
    let payer = BillPayer::start().await;
    let payment = payer.take("WIFI-1").await;
    let lost = claim(&payer).await.remove(0);
    payer.let_time_pass().await;
    let held = claim(&payer).await.remove(0);
    let before = payer.bill(payment).await;
    let late = [
        retry(),
        NextStep::BeginCancelling {
            cause: UnknownCause::Timeout,
        },
        NextStep::Parked {
            cause: UnknownCause::Timeout,
        },
    ];
    for next in late {
        let recorded = recorded(&payer, &[(&lost, next)]).await;
        assert_eq!(recorded.stale, [payment]);
    }
    assert_eq!(payer.bill(payment).await, before);
    let recorded = recorded(&payer, &[(&held, retry())]).await;
    assert_eq!(recorded.moved, [(payment, Status::Paying)]);
    let bill = payer.bill(payment).await;
    assert_eq!(bill["last_error"], "the provider did not answer in time");
    assert_eq!(bill["attempts"], 2);
}

#[tokio::test]
async fn the_providers_word_counts_whoever_heard_it_and_whatever_happened_since() {
    let payer = BillPayer::start().await;
    for (next, status) in [(paid(), "paid"), (failed(), "failed")] {
        for since in ["paying", "cancelling", "parked"] {
            let payment = payer.take("WIFI-1").await;
            let lost = claim(&payer).await.remove(0);
            payer.let_time_pass().await;
            let held = claim(&payer).await.remove(0);
            if since != "paying" {
                let cause = UnknownCause::Timeout;
                recorded(&payer, &[(&held, NextStep::BeginCancelling { cause })]).await;
            }
            if since == "parked" {
                payer.let_time_pass().await;
                let held = claim(&payer).await.remove(0);
                recorded(
                    &payer,
                    &[(
                        &held,
                        NextStep::Parked {
                            cause: UnknownCause::Timeout,
                        },
                    )],
                )
                .await;
            }
            assert_eq!(payer.bill(payment).await["status"], since);
            recorded(&payer, &[(&lost, next.clone())]).await;
            assert_eq!(payer.bill(payment).await["status"], status);
        }
    }
    assert_eq!(payer.events().await.len(), 6);
}

#[tokio::test]
async fn a_bill_that_has_ended_never_changes() {
    let payer = BillPayer::start().await;
    let payment = payer.take("WIFI-1").await;
    let bill = claim(&payer).await.remove(0);
    recorded(&payer, &[(&bill, paid())]).await;
    let before = payer.bill(payment).await;
    assert_eq!(
        recorded(&payer, &[(&bill, failed())]).await.contradictions,
        [payment]
    );
    for next in [
        paid(),
        retry(),
        NextStep::Parked {
            cause: UnknownCause::Timeout,
        },
    ] {
        assert_eq!(recorded(&payer, &[(&bill, next)]).await.stale, [payment]);
    }
    assert_eq!(payer.bill(payment).await, before);
    assert_eq!(payer.events().await.len(), 1);
    // The database holds it, too.
    let mut conn = payer.database.connect().await;
    let refused = diesel::sql_query("update bills set status = 'paying', receipt = null")
        .execute(&mut conn)
        .await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("never changes"), "{refused}");
}

#[tokio::test]
async fn two_answers_for_one_bill_in_one_batch_make_one_event() {
    let payer = BillPayer::start().await;
    let payment = payer.take("WIFI-1").await;
    let first = claim(&payer).await.remove(0);
    payer.let_time_pass().await;
    let second = claim(&payer).await.remove(0);
    let batch = [(&first, paid()), (&second, retry()), (&second, paid())];
    let recorded = recorded(&payer, &batch).await;
    assert_eq!(recorded.moved, [(payment, Status::Paid)]);
    assert_eq!(recorded.stale, [payment, payment]);
    assert_eq!(payer.bill(payment).await["status"], "paid");
    assert_eq!(payer.events().await.len(), 1);
}

#[tokio::test]
async fn executors_that_record_the_same_bills_never_deadlock() {
    let payer = BillPayer::start().await;
    let requests: Vec<_> = (0..3).map(|_| request("WIFI-1")).collect();
    payer.take_all(&requests).await;
    let mut bills = claim(&payer).await;
    bills.sort_by_key(|bill| bill.request.payment_id);
    let batch: Vec<_> = bills.iter().map(|bill| (bill, paid())).collect();
    let reversed: Vec<_> = bills.iter().rev().map(|bill| (bill, paid())).collect();
    // Both stop half-way, at the bill in the middle, and go on together.
    let mut other = payer.database.connect().await;
    lock(&mut other, bills[1].request.payment_id).await;
    let mut watcher = payer.database.connect().await;
    let release = async {
        waits_for_locks(&mut watcher, 2).await;
        execute(&mut other, "commit").await;
    };
    let (one, two, ()) = tokio::join!(
        recorded(&payer, &batch),
        recorded(&payer, &reversed),
        release
    );
    assert_eq!(one.moved.len() + two.moved.len(), 3);
    assert_eq!(payer.events().await.len(), 3);
}

#[tokio::test]
async fn events_of_one_wallet_commit_in_the_order_of_their_seq() {
    let payer = BillPayer::start().await;
    let (first, mut second) = (request("WIFI-1"), request("WIFI-2"));
    second.wallet_id = first.wallet_id;
    let wallet_id = first.wallet_id;
    payer.take_all(&[first, second]).await;
    let mut bills = claim(&payer).await;
    bills.sort_by_key(|bill| bill.request.payment_id);
    // Somebody else has appended an event of this wallet and not committed yet.
    let mut other = payer.database.connect().await;
    let held = format!("select pg_advisory_xact_lock(hashtextextended('{wallet_id}', 0))");
    execute(&mut other, &format!("begin; {held}")).await;
    let mut watcher = payer.database.connect().await;
    let batch = [(&bills[1], paid()), (&bills[0], paid())];
    let release = async {
        waits_for_locks(&mut watcher, 1).await;
        assert_eq!(payer.events().await.len(), 0);
        execute(&mut other, "commit").await;
    };
    tokio::join!(recorded(&payer, &batch), release);
    let events = payer.events().await.into_iter();
    let order: Vec<Value> = events
        .map(|event| event.payload["payment_id"].clone())
        .collect();
    let expected = bills.iter().map(|bill| json!(bill.request.payment_id));
    assert_eq!(order, expected.collect::<Vec<Value>>());
}

async fn execute(conn: &mut AsyncPgConnection, sql: &str) {
    conn.batch_execute(sql).await.unwrap();
}

/// Locks a bill until the connection's transaction ends.
async fn lock(conn: &mut AsyncPgConnection, payment_id: Uuid) {
    let select = format!("begin; select from bills where payment_id = '{payment_id}' for update");
    execute(conn, &select).await;
}

/// Waits until that many sessions of this database wait for a lock.
async fn waits_for_locks(conn: &mut AsyncPgConnection, sessions: usize) {
    eventually("sessions wait for a lock", async || {
        let waiting = "select from pg_stat_activity \
             where datname = current_database() and wait_event_type = 'Lock'";
        match diesel::sql_query(waiting).execute(conn).await.unwrap() {
            waiting if waiting == sessions => Ok(()),
            waiting => Err(format!("{waiting} do")),
        }
    })
    .await;
}
