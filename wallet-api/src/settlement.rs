//! Results of bill payments: each settles or refunds its payment once.
//!
//! | step | statement | lock | why here |
//! | --- | --- | --- | --- |
//! | 1 | `insert inbox` | the events' sources and ids | a redelivery ends here; a concurrent one waits; another event with this id is a dead letter |
//! | 2 | `select wallets ... for no key update` | wallets to be refunded, in id order | the same order as payments take them |
//! | 3 | `update payments` where pending, and of the same wallet, amount, provider and account | their rows | a payment moves forward once, whoever says so, and for the bill that it was debited for |
//! | 4 | `insert transfers` | their rows | clearing to provider, or back to the wallet |
//! | 5 | `update wallets` | held since 2 | refunds |
//! | 6 | `insert dead_letters` | their rows | results that fit no payment |
//! | 7 | `commit` | releases all | then, and only then, the offsets |

use std::collections::{HashMap, HashSet};

use chassis::consumer::{HandleError, Handler, Record};
use chassis::database::Pool;
use chassis::dead_letters::{self, Retake, RetakeError, dead_letter};
use chassis::telemetry::chain;
use chassis::trace::trace_id;
use diesel::prelude::*;
use diesel::sql_types::{Nullable, Numeric, Text, Uuid as SqlUuid};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl};
use events::{BILL_SOURCE, BillEvent, BillPaid, BillPaymentFailed, Envelope, header};
use outbox::dead_letter::NewDeadLetter;
use outbox::inbox::{self, EventIdentity, Seen};
use outbox::statement;
use rust_decimal::Decimal;
use sha2::{Digest as _, Sha256};
use tracing::{debug, info};
use uuid::Uuid;

use crate::ledger::{self, Kind, Transfer};
use crate::schema::PaymentRow;
use crate::{SERVICE, schema};

/// Takes `bill.events`.
#[derive(Clone)]
pub struct Settlement {
    pool: Pool,
}

impl Settlement {
    /// A handler that works on the wallet database.
    #[must_use]
    pub const fn new(pool: Pool) -> Self {
        Self { pool }
    }
}

/// A result as it was read.
struct Received<'a> {
    record: &'a Record,
    event_id: Uuid,
    event: BillEvent,
}

impl Received<'_> {
    /// The hash is over what was understood: a payload that is spelled otherwise says the same.
    fn identity(&self) -> EventIdentity<'static> {
        let payload = match &self.event {
            BillEvent::Paid(paid) => serde_json::to_vec(paid),
            BillEvent::Failed(failed) => serde_json::to_vec(failed),
        };
        let payload = payload.expect("a result that was decoded is JSON by its type");
        let event_type = match &self.event {
            BillEvent::Paid(_) => BillPaid::TYPE,
            BillEvent::Failed(_) => BillPaymentFailed::TYPE,
        };
        let mut hash = Sha256::new();
        hash.update(event_type);
        hash.update(payload);
        EventIdentity {
            source: BILL_SOURCE,
            id: self.event_id,
            fingerprint: hash.finalize().into(),
        }
    }
}

impl Handler for Settlement {
    async fn handle(&mut self, batch: &[Record]) -> Result<(), HandleError> {
        let mut received = Vec::with_capacity(batch.len());
        let mut letters = Vec::new();
        for record in batch {
            match read(record) {
                Ok(result) => received.push(result),
                Err(reason) => letters.push(dead_letter(SERVICE, record, reason)),
            }
        }
        let mut conn = self.pool.get().await?;
        let settled = conn
            .transaction(async |conn| settle(conn, &received, letters).await)
            .await?;
        settled.report();
        Ok(())
    }

    async fn reject(&mut self, record: &Record, reason: &str) -> Result<(), HandleError> {
        dead_letters::store(&self.pool, SERVICE, record, reason).await?;
        count("dead_letter", 1);
        Ok(())
    }
}

/// One message of a dead letter. The inbox may know its event: it was heard, and moved nothing. So here the
/// payment alone decides, which moves once, whoever says so.
impl Retake for Settlement {
    async fn retake(
        &self,
        conn: &mut AsyncPgConnection,
        _: &str,
        record: &Record,
    ) -> Result<(), RetakeError> {
        let received = read(record).map_err(RetakeError::Refused)?;
        let _: Vec<Seen> = inbox::take(conn, SERVICE, &[received.identity()]).await?;
        let settled = apply(conn, vec![&received], Vec::new(), Settled::default()).await?;
        if settled.dead_letters > 0 {
            return Err(RetakeError::Refused(unmatched_reason(&received.event)));
        }
        Ok(())
    }
}

fn read(record: &Record) -> Result<Received<'_>, String> {
    let (key, payload) = (record.key.as_deref(), record.payload.as_deref());
    let envelope = Envelope::read(key, record.header_values(), payload, BILL_SOURCE)
        .map_err(|error| chain(&error))?;
    let event = BillEvent::read(&envelope).map_err(|error| chain(&error))?;
    Ok(Received {
        record,
        event_id: envelope.id,
        event,
    })
}

/// What a batch did, to be counted once it is committed.
#[derive(Debug, Default)]
struct Settled {
    paid: Vec<(Uuid, String)>,
    refunded: Vec<(Uuid, String)>,
    again: u64,
    conflicts: u64,
    dead_letters: u64,
}

impl Settled {
    fn report(&self) {
        for (payment_id, traceparent) in &self.paid {
            info!(%payment_id, trace_id = trace_id(traceparent), "payment settled");
        }
        for (payment_id, traceparent) in &self.refunded {
            info!(%payment_id, trace_id = trace_id(traceparent), "payment refunded");
        }
        count(
            "settled",
            u64::try_from(self.paid.len()).unwrap_or(u64::MAX),
        );
        count(
            "refunded",
            u64::try_from(self.refunded.len()).unwrap_or(u64::MAX),
        );
        count("again", self.again);
        count("conflict", self.conflicts);
        count("dead_letter", self.dead_letters);
        debug!(
            again = self.again,
            dead_letters = self.dead_letters,
            "results taken"
        );
    }
}

fn count(outcome: &'static str, results: u64) {
    metrics::counter!("bill_results_total", "outcome" => outcome).increment(results);
}

async fn settle(
    conn: &mut AsyncPgConnection,
    received: &[Received<'_>],
    mut letters: Vec<NewDeadLetter>,
) -> QueryResult<Settled> {
    let identities: Vec<EventIdentity<'_>> = received.iter().map(Received::identity).collect();
    let seen = inbox::take(conn, SERVICE, &identities).await?;
    let mut first: Vec<&Received<'_>> = Vec::new();
    let mut settled = Settled::default();
    for (result, seen) in received.iter().zip(seen) {
        match seen {
            Seen::First => first.push(result),
            Seen::Again => settled.again += 1,
            Seen::Conflict => {
                let reason = format!(
                    "the event {} is known with another content",
                    result.event_id
                );
                letters.push(dead_letter(SERVICE, result.record, reason));
                settled.conflicts += 1;
            }
        }
    }
    apply(conn, first, letters, settled).await
}

/// Steps 2 to 6, of results that are not known to have moved anything.
async fn apply(
    conn: &mut AsyncPgConnection,
    first: Vec<&Received<'_>>,
    mut letters: Vec<NewDeadLetter>,
    mut settled: Settled,
) -> QueryResult<Settled> {
    // One result a payment and statement; a second one meets a payment that has moved already.
    let mut results: HashMap<Uuid, &Received<'_>> = HashMap::new();
    for result in &first {
        results.entry(result.event.payment_id()).or_insert(result);
    }
    lock_refunded_wallets(conn, results.values().map(|result| &result.event)).await?;
    let events: Vec<&BillEvent> = results.values().map(|result| &result.event).collect();
    let moved = move_payments(conn, &events).await?;
    let (moving, others): (Vec<_>, Vec<_>) = first.into_iter().partition(|result| {
        let id = result.event.payment_id();
        let speaks = results.get(&id).map(|first| first.event_id);
        moved.contains(&id) && speaks == Some(result.event_id)
    });
    // What moved nothing is dropped only if the payment says the same already.
    let ended = find_ended(conn, others.iter().map(|other| other.event.payment_id())).await?;
    for other in others {
        let known = ended.get(&other.event.payment_id());
        if known.is_some_and(|known| repeats(&other.event, known)) {
            settled.again += 1;
        } else {
            let reason = unmatched_reason(&other.event);
            letters.push(dead_letter(SERVICE, other.record, reason));
        }
    }
    let mut transfers = Vec::new();
    let mut refunds: HashMap<Uuid, Decimal> = HashMap::new();
    for result in moving {
        let id = result.event.payment_id();
        let wallet_id = result.event.wallet_id();
        let trace = result
            .record
            .header(header::TRACEPARENT)
            .unwrap_or_default();
        let money = result.event.money();
        match &result.event {
            BillEvent::Paid(_) => {
                transfers.push(Transfer::of_payment(Kind::Settlement, wallet_id, money, id));
                settled.paid.push((id, trace.to_owned()));
            }
            BillEvent::Failed(_) => {
                transfers.push(Transfer::of_payment(Kind::Refund, wallet_id, money, id));
                *refunds.entry(wallet_id).or_default() += money.value();
                settled.refunded.push((id, trace.to_owned()));
            }
        }
    }
    ledger::post(conn, &transfers).await?;
    ledger::change_balances(conn, refunds).await?;
    settled.dead_letters = u64::try_from(letters.len()).unwrap_or(u64::MAX);
    outbox::dead_letter::record(conn, &letters).await?;
    Ok(settled)
}

/// A result that moved nothing is never dropped silently: it says something about money.
fn unmatched_reason(event: &BillEvent) -> String {
    let payee = event.payee().map_or_else(String::new, |payee| {
        format!(" to {} {:?}", payee.provider, payee.account_number)
    });
    format!(
        "no pending payment {} of {}{payee} on wallet {}: it is unknown, is about another bill, or has ended otherwise",
        event.payment_id(),
        event.money(),
        event.wallet_id(),
    )
}

/// What a result makes of its payment.
struct Outcome<'a> {
    status: &'static str,
    receipt: Option<&'a str>,
    reason: Option<&'a str>,
}

fn outcome(event: &BillEvent) -> Outcome<'_> {
    match event {
        BillEvent::Paid(paid) => Outcome {
            status: "paid",
            receipt: Some(&paid.receipt),
            reason: None,
        },
        BillEvent::Failed(failed) => Outcome {
            status: "refunded",
            receipt: None,
            reason: Some(&failed.reason),
        },
    }
}

/// Whether `event` says what `payment` ended with: the result came again under another event id. The reason of a refund
/// may differ: it moves no money.
fn repeats(event: &BillEvent, payment: &PaymentRow) -> bool {
    let outcome = outcome(event);
    let same_payee = event.payee().is_none_or(|payee| {
        payee.provider == payment.provider && payee.account_number == payment.account_number
    });
    payment.status == outcome.status
        && payment.receipt.as_deref() == outcome.receipt
        && payment.wallet_id == event.wallet_id()
        && payment.amount == event.money().value()
        && payment.currency == event.money().currency().code()
        && same_payee
}

async fn find_ended(
    conn: &mut AsyncPgConnection,
    payment_ids: impl Iterator<Item = Uuid>,
) -> QueryResult<HashMap<Uuid, PaymentRow>> {
    use schema::payments::dsl;
    let payment_ids: Vec<Uuid> = payment_ids.collect();
    if payment_ids.is_empty() {
        return Ok(HashMap::new());
    }
    let payments: Vec<PaymentRow> = dsl::payments
        .filter(dsl::id.eq_any(payment_ids))
        .filter(dsl::status.eq_any(["paid", "refunded"]))
        .select(PaymentRow::as_select())
        .load(conn)
        .await?;
    let payments = payments.into_iter();
    Ok(payments.map(|payment| (payment.id, payment)).collect())
}

/// Step 2.
async fn lock_refunded_wallets(
    conn: &mut AsyncPgConnection,
    results: impl Iterator<Item = &BillEvent>,
) -> QueryResult<()> {
    use schema::wallets::dsl;
    let wallets: Vec<Uuid> = results
        .filter(|event| matches!(event, BillEvent::Failed(_)))
        .map(BillEvent::wallet_id)
        .collect();
    if wallets.is_empty() {
        return Ok(());
    }
    dsl::wallets
        .filter(dsl::id.eq_any(wallets))
        .order(dsl::id)
        .select(dsl::id)
        .for_no_key_update()
        .load::<Uuid>(conn)
        .await?;
    Ok(())
}

#[derive(QueryableByName)]
struct Moved {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
}

/// Step 3. Returns the payments that moved.
async fn move_payments(
    conn: &mut AsyncPgConnection,
    results: &[&BillEvent],
) -> QueryResult<HashSet<Uuid>> {
    if results.is_empty() {
        return Ok(HashSet::new());
    }
    let moved: Vec<Moved> = statement(
        "update payments set status = result.status, receipt = result.receipt, \
         reason = result.reason, updated_at = now() \
         from unnest($1, $2, $3, $4, $5, $6, $7, $8, $9) \
         as result (payment_id, wallet_id, amount, currency, status, receipt, reason, provider, account_number) \
         where payments.id = result.payment_id and payments.wallet_id = result.wallet_id \
         and payments.amount = result.amount and payments.currency = result.currency \
         and payments.provider = coalesce(result.provider, payments.provider) \
         and payments.account_number = coalesce(result.account_number, payments.account_number) \
         and payments.status = 'pending' returning payments.id",
    )
    .column::<SqlUuid, _, _>(results, |event| event.payment_id())
    .column::<SqlUuid, _, _>(results, |event| event.wallet_id())
    .column::<Numeric, _, _>(results, |event| event.money().value())
    .column::<Text, _, _>(results, |event| event.money().currency().code())
    .column::<Text, _, _>(results, |event| outcome(event).status)
    .column::<Nullable<Text>, _, _>(results, |event| outcome(event).receipt)
    .column::<Nullable<Text>, _, _>(results, |event| outcome(event).reason)
    .column::<Nullable<Text>, _, _>(results, |event| event.payee().map(|payee| &payee.provider))
    .column::<Nullable<Text>, _, _>(results, |event| event.payee().map(|payee| &payee.account_number))
    .load(conn)
    .await?;
    Ok(moved.into_iter().map(|row| row.id).collect())
}
