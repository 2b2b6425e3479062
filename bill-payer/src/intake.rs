//! Taking bills in from `wallet.events`.
//!
//! Promises: a payment becomes one bill however often its event comes; a message that can't be read, and one that asks
//! for another bill under a known payment id, becomes a dead letter, and its partition goes on; all are committed
//! before the offsets are. A redriven event of a bill that has ended has its result said again.

use std::sync::Arc;

use chassis::TraceContext;
use chassis::consumer::{HandleError, Handler, Record};
use chassis::database::Pool;
use chassis::telemetry::chain;
use diesel_async::{AsyncConnection as _, AsyncPgConnection};
use events::{DecodeError, Envelope, WalletEvent};
use operations::dead_letter::NewDeadLetter;
use operations::dead_letters::{self, Redeliver, RedeliverError, dead_letter};
use tokio::sync::Notify;
use tracing::debug;

use crate::SERVICE;
use crate::record::repeated_results::append_repeated_results;
use crate::store::{self, NewBill};

/// Takes `wallet.events`.
#[derive(Clone)]
pub struct Intake {
    pool: Pool,
    new_bills: Arc<Notify>,
}

impl Intake {
    /// A handler that wakes the executor by `new_bills`.
    #[must_use]
    pub const fn new(pool: Pool, new_bills: Arc<Notify>) -> Self {
        Self { pool, new_bills }
    }
}

impl Handler for Intake {
    async fn handle(&mut self, batch: &[Record]) -> Result<(), HandleError> {
        let mut letters = Vec::new();
        let mut bills = Vec::with_capacity(batch.len());
        let mut records = Vec::with_capacity(batch.len());
        for record in batch {
            match read(record) {
                Ok(bill) => {
                    bills.push(bill);
                    records.push(record);
                }
                Err(error) => letters.push(dead_letter(SERVICE, record, chain(&error))),
            }
        }
        let unreadable = letters.len();
        let mut conn = self.pool.get().await?;
        let taken = conn
            .transaction(async |conn| take(conn, &bills, &records, &mut letters).await)
            .await?;
        drop(conn);
        if taken.contains(&store::Intake::Inserted) {
            self.new_bills.notify_one();
        }
        report(&bills, &taken);
        count("dead_letter", unreadable);
        Ok(())
    }

    async fn reject(&mut self, record: &Record, reason: &str) -> Result<(), HandleError> {
        dead_letters::store(&self.pool, SERVICE, record, reason).await?;
        count("dead_letter", 1);
        Ok(())
    }
}

/// Inserts `bills`, which were read from `records`, and stores `letters` with those that are in conflict.
async fn take(
    conn: &mut AsyncPgConnection,
    bills: &[NewBill],
    records: &[&Record],
    letters: &mut Vec<NewDeadLetter>,
) -> diesel::QueryResult<Vec<store::Intake>> {
    let taken = insert(conn, bills).await?;
    for ((bill, record), taken) in bills.iter().zip(records).zip(&taken) {
        if let store::Intake::Conflict { difference } = taken {
            let reason = conflict(bill, difference);
            letters.push(dead_letter(SERVICE, record, reason));
        }
    }
    operations::dead_letter::record(conn, letters).await?;
    Ok(taken)
}

/// Inserts what is new; of what is known and was redriven, the result is said again.
async fn insert(
    conn: &mut AsyncPgConnection,
    bills: &[NewBill],
) -> diesel::QueryResult<Vec<store::Intake>> {
    let taken = store::insert(conn, bills).await?;
    let redriven = bills
        .iter()
        .zip(&taken)
        .filter(|(bill, taken)| bill.request.redriven && **taken == store::Intake::Again);
    append_repeated_results(conn, redriven.map(|(bill, _)| bill)).await?;
    Ok(taken)
}

fn conflict(bill: &NewBill, difference: &str) -> String {
    let payment_id = bill.request.payment_id;
    format!("payment {payment_id} is known with another bill: {difference}")
}

/// One message of a dead letter, the way that a batch of them goes.
impl Redeliver for Intake {
    async fn redeliver(
        &self,
        conn: &mut AsyncPgConnection,
        _: &str,
        record: &Record,
    ) -> Result<(), RedeliverError> {
        let bill = read(record).map_err(|error| RedeliverError::Refused(chain(&error)))?;
        let taken = insert(conn, std::slice::from_ref(&bill)).await?;
        if let [store::Intake::Conflict { difference }] = taken.as_slice() {
            return Err(RedeliverError::Refused(conflict(&bill, difference)));
        }
        // Not committed yet: at worst the executor looks in vain, and again a moment later.
        self.new_bills.notify_one();
        Ok(())
    }
}

fn read(record: &Record) -> Result<NewBill, DecodeError> {
    let (key, payload) = (record.key.as_deref(), record.payload.as_deref());
    let (envelope, event) = Envelope::read(key, record.header_values(), payload)?;
    let WalletEvent::BillPaymentRequested(request) = event;
    Ok(NewBill {
        request,
        trace: TraceContext::of_message(envelope.traceparent, envelope.tracestate),
    })
}

/// Logs and counts the batch once it is committed.
fn report(bills: &[NewBill], taken: &[store::Intake]) {
    for bill in bills {
        debug!(
            payment_id = %bill.request.payment_id,
            trace_id = %bill.trace.trace_id(),
            "bill taken"
        );
    }
    let number =
        |outcome: fn(&store::Intake) -> bool| taken.iter().filter(|it| outcome(it)).count();
    count("taken", number(|it| matches!(it, store::Intake::Inserted)));
    count("again", number(|it| matches!(it, store::Intake::Again)));
    count(
        "conflict",
        number(|it| matches!(it, store::Intake::Conflict { .. })),
    );
}

fn count(outcome: &'static str, records: usize) {
    let records = u64::try_from(records).unwrap_or(u64::MAX);
    metrics::counter!("bill_requests_total", "outcome" => outcome).increment(records);
}
