//! Taking bills in from `wallet.events`.
//!
//! Promises: a payment becomes one bill however often its event comes; a message that can't be read
//! becomes a dead letter, and its partition goes on; both are committed before the offsets are. A type
//! that this version does not know is skipped and counted.

use std::sync::Arc;

use chassis::Traceparent;
use chassis::consumer::{HandleError, Handler, Record};
use chassis::database::Pool;
use chassis::dead_letters::{Retake, RetakeError, dead_letter};
use diesel_async::{AsyncConnection as _, AsyncPgConnection};
use events::{DecodeError, Decoded, WalletEvent, header};
use outbox::dead_letter::NewDeadLetter;
use tokio::sync::Notify;
use tracing::debug;
use uuid::Uuid;

use crate::SERVICE;
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
        let read = read_batch(batch);
        let mut conn = self.pool.get().await?;
        let inserted = conn
            .transaction(async |conn| {
                let inserted = store::insert(conn, &read.bills).await?;
                outbox::dead_letter::record(conn, &read.letters).await?;
                diesel::QueryResult::Ok(inserted)
            })
            .await?;
        drop(conn);
        if !inserted.is_empty() {
            self.new_bills.notify_one();
        }
        read.report(&inserted);
        Ok(())
    }

    async fn reject(&mut self, record: &Record, reason: &str) -> Result<(), HandleError> {
        let letter = dead_letter(SERVICE, record, reason.to_owned());
        let mut conn = self.pool.get().await?;
        outbox::dead_letter::record(&mut conn, &[letter]).await?;
        count("dead_letter", 1);
        Ok(())
    }
}

/// One message of a dead letter, the way that a batch of them goes.
impl Retake for Intake {
    async fn retake(
        &self,
        conn: &mut AsyncPgConnection,
        _: &str,
        record: &Record,
    ) -> Result<(), RetakeError> {
        match read_record(record) {
            Ok(Decoded::Known(bill)) => {
                store::insert(conn, &[bill]).await?;
                // Not committed yet: at worst the executor looks in vain, and again a moment later.
                self.new_bills.notify_one();
                Ok(())
            }
            Ok(Decoded::UnknownType) => Err(RetakeError::Refused(
                "this version does not know the event's type".to_owned(),
            )),
            Err(error) => Err(RetakeError::Refused(chassis::telemetry::chain(&error))),
        }
    }
}

/// Why a record is not a bill, and never will be.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error("the header {0} is missing")]
    HeaderMissing(&'static str),
    #[error("the header {} is not a UUID", header::ID)]
    EventId,
    #[error("there is no payload")]
    PayloadMissing,
    #[error(transparent)]
    Payload(#[from] DecodeError),
    #[error("the key is not the wallet id {0}")]
    Key(Uuid),
}

/// What a batch holds.
#[derive(Default)]
struct ReadBatch {
    bills: Vec<NewBill>,
    letters: Vec<NewDeadLetter>,
    unknown_types: usize,
}

fn read_batch(batch: &[Record]) -> ReadBatch {
    let mut read = ReadBatch::default();
    for record in batch {
        match read_record(record) {
            Ok(Decoded::Known(bill)) => read.bills.push(bill),
            Ok(Decoded::UnknownType) => {
                debug!(%record, "skipping an event of an unknown type");
                read.unknown_types += 1;
            }
            Err(error) => {
                let reason = chassis::telemetry::chain(&error);
                read.letters.push(dead_letter(SERVICE, record, reason));
            }
        }
    }
    read
}

fn read_record(record: &Record) -> Result<Decoded<NewBill>, Unreadable> {
    let required = |name| record.header(name).ok_or(Unreadable::HeaderMissing(name));
    let event_type = required(header::TYPE)?;
    let payload = record.payload.as_deref().unwrap_or_default();
    let request = match WalletEvent::decode(event_type, payload) {
        Ok(Decoded::UnknownType) => return Ok(Decoded::UnknownType),
        Ok(Decoded::Known(WalletEvent::BillPaymentRequested(request))) => request,
        Err(_) if payload.is_empty() => return Err(Unreadable::PayloadMissing),
        Err(error) => return Err(error.into()),
    };
    // The payment id is what makes a bill unique; an event without an id is still not one of ours.
    if required(header::ID)?.parse::<Uuid>().is_err() {
        return Err(Unreadable::EventId);
    }
    let key = record.key.as_deref().unwrap_or_default();
    if key != request.wallet_id.to_string().as_bytes() {
        return Err(Unreadable::Key(request.wallet_id));
    }
    // A lost trace is no reason not to pay.
    let traceparent = record
        .header(header::TRACEPARENT)
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(Traceparent::start);
    Ok(Decoded::Known(NewBill {
        request,
        traceparent,
    }))
}

impl ReadBatch {
    /// Logs and counts the batch once it is committed.
    fn report(&self, inserted: &[Uuid]) {
        for bill in &self.bills {
            debug!(
                payment_id = %bill.request.payment_id,
                trace_id = bill.traceparent.trace_id(),
                "bill taken"
            );
        }
        count("taken", inserted.len());
        count("again", self.bills.len().saturating_sub(inserted.len()));
        count("unknown_type", self.unknown_types);
        count("dead_letter", self.letters.len());
    }
}

fn count(outcome: &'static str, records: usize) {
    let records = u64::try_from(records).unwrap_or(u64::MAX);
    metrics::counter!("bill_requests_total", "outcome" => outcome).increment(records);
}
