//! Results of bill payments: each settles or refunds its payment once.
//!
//! | step | statement | lock | why here |
//! | --- | --- | --- | --- |
//! | 1 | `insert inbox` | the events' ids | a redelivery ends here; a concurrent one waits |
//! | 2 | `select wallets ... for no key update` | wallets to be refunded, in id order | the same order as payments take them |
//! | 3 | `update payments` where pending | their rows | a payment moves forward once, whoever says so |
//! | 4 | `insert transfers` | their rows | clearing to provider, or back to the wallet |
//! | 5 | `update wallets` | held since 2 | refunds |
//! | 6 | `insert dead_letters` | their rows | results that fit no payment |
//! | 7 | `commit` | releases all | then, and only then, the offsets |

use std::collections::HashMap;

use chassis::consumer::{HandleError, Handler, Record};
use chassis::database::Pool;
use chassis::dead_letters::{Retake, RetakeError, dead_letter};
use chassis::trace::trace_id;
use diesel::prelude::*;
use diesel::sql_types::{Array, Nullable, Numeric, Text, Uuid as SqlUuid};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl};
use events::{BillEvent, Decoded, Money, header};
use outbox::dead_letter::NewDeadLetter;
use outbox::inbox::{self, Seen};
use outbox::statement;
use rust_decimal::Decimal;
use tracing::{debug, info};
use uuid::Uuid;

use crate::ledger::{self, Kind, Transfers};
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

impl Handler for Settlement {
    async fn handle(&mut self, batch: &[Record]) -> Result<(), HandleError> {
        let mut received = Vec::with_capacity(batch.len());
        let mut letters = Vec::new();
        for record in batch {
            match read(record) {
                Ok(Some((event_id, event))) => received.push(Received {
                    record,
                    event_id,
                    event,
                }),
                Ok(None) => count("unknown_type", 1),
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
        let mut conn = self.pool.get().await?;
        outbox::dead_letter::record(
            &mut conn,
            &[dead_letter(SERVICE, record, reason.to_owned())],
        )
        .await?;
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
        let read = read(record).map_err(RetakeError::Refused)?;
        let (event_id, event) = read.ok_or_else(|| {
            RetakeError::Refused("this version does not know the event's type".to_owned())
        })?;
        let received = Received {
            record,
            event_id,
            event,
        };
        let _: Vec<Seen> = inbox::take(conn, SERVICE, &[event_id]).await?;
        let settled = apply(conn, vec![&received], Vec::new(), Settled::default()).await?;
        if settled.dead_letters > 0 {
            return Err(RetakeError::Refused(misfit(&received.event)));
        }
        Ok(())
    }
}

fn read(record: &Record) -> Result<Option<(Uuid, BillEvent)>, String> {
    let event_type = record
        .header(header::TYPE)
        .ok_or_else(|| format!("the header {} is missing", header::TYPE))?;
    let payload = record.payload.as_deref().unwrap_or_default();
    match BillEvent::decode(event_type, payload) {
        Err(error) => Err(chassis::telemetry::chain(&error)),
        Ok(Decoded::UnknownType) => Ok(None),
        Ok(Decoded::Known(event)) => {
            let id = record.header(header::ID).and_then(|id| id.parse().ok());
            let id = id.ok_or_else(|| format!("the header {} is not a UUID", header::ID))?;
            Ok(Some((id, event)))
        }
    }
}

/// What a batch did, to be counted once it is committed.
#[derive(Debug, Default)]
struct Settled {
    paid: Vec<(Uuid, String)>,
    refunded: Vec<(Uuid, String)>,
    again: u64,
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
    letters: Vec<NewDeadLetter>,
) -> QueryResult<Settled> {
    let ids: Vec<Uuid> = received.iter().map(|result| result.event_id).collect();
    let seen = inbox::take(conn, SERVICE, &ids).await?;
    let mut first: Vec<&Received<'_>> = Vec::new();
    let mut settled = Settled::default();
    for (result, seen) in received.iter().zip(seen) {
        match seen {
            Seen::First => first.push(result),
            Seen::Again => settled.again += 1,
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
    let moved = move_payments(conn, results.values().map(|result| &result.event)).await?;
    let mut transfers = Transfers::default();
    let mut refunds: HashMap<Uuid, Decimal> = HashMap::new();
    for result in first {
        let id = result.event.payment_id();
        let stands = results
            .get(&id)
            .is_some_and(|first| first.event_id == result.event_id);
        let (true, Some(wallet_id)) = (stands, moved.get(&id).copied()) else {
            letters.push(dead_letter(SERVICE, result.record, misfit(&result.event)));
            continue;
        };
        let trace = result
            .record
            .header(header::TRACEPARENT)
            .unwrap_or_default();
        let money = money(&result.event);
        match &result.event {
            BillEvent::Paid(_) => {
                transfers.add(Kind::Settlement, wallet_id, money, Some(id));
                settled.paid.push((id, trace.to_owned()));
            }
            BillEvent::Failed(_) => {
                transfers.add(Kind::Refund, wallet_id, money, Some(id));
                *refunds.entry(wallet_id).or_default() += money.value();
                settled.refunded.push((id, trace.to_owned()));
            }
        }
    }
    transfers.post(conn).await?;
    ledger::change_balances(conn, refunds).await?;
    settled.dead_letters = u64::try_from(letters.len()).unwrap_or(u64::MAX);
    outbox::dead_letter::record(conn, &letters).await?;
    Ok(settled)
}

const fn money(event: &BillEvent) -> Money {
    match event {
        BillEvent::Paid(paid) => paid.money,
        BillEvent::Failed(failed) => failed.money,
    }
}

const fn wallet_id(event: &BillEvent) -> Uuid {
    match event {
        BillEvent::Paid(paid) => paid.wallet_id,
        BillEvent::Failed(failed) => failed.wallet_id,
    }
}

/// A result that moved nothing is never dropped silently: it says something about money.
fn misfit(event: &BillEvent) -> String {
    format!(
        "no pending payment {} of {} on wallet {}: it is unknown, or has ended already",
        event.payment_id(),
        money(event),
        wallet_id(event),
    )
}

/// Step 2.
async fn lock_refunded_wallets(
    conn: &mut AsyncPgConnection,
    results: impl Iterator<Item = &BillEvent>,
) -> QueryResult<()> {
    use schema::wallets::dsl;
    let wallets: Vec<Uuid> = results
        .filter(|event| matches!(event, BillEvent::Failed(_)))
        .map(wallet_id)
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
    #[diesel(sql_type = SqlUuid)]
    wallet_id: Uuid,
}

/// Step 3. Returns the wallets of the payments that moved, by payment.
async fn move_payments(
    conn: &mut AsyncPgConnection,
    results: impl Iterator<Item = &BillEvent>,
) -> QueryResult<HashMap<Uuid, Uuid>> {
    let mut columns = ResultColumns::default();
    for event in results {
        columns.push(event);
    }
    if columns.payments.is_empty() {
        return Ok(HashMap::new());
    }
    let moved: Vec<Moved> = statement(
        "update payments set status = result.status, receipt = result.receipt, \
         reason = result.reason, updated_at = now() \
         from unnest($1, $2, $3, $4, $5, $6, $7) \
         as result (payment_id, wallet_id, amount, currency, status, receipt, reason) \
         where payments.id = result.payment_id and payments.wallet_id = result.wallet_id \
         and payments.amount = result.amount and payments.currency = result.currency \
         and payments.status = 'pending' returning payments.id, payments.wallet_id",
    )
    .bind::<Array<SqlUuid>, _>(columns.payments)
    .bind::<Array<SqlUuid>, _>(columns.wallets)
    .bind::<Array<Numeric>, _>(columns.amounts)
    .bind::<Array<Text>, _>(columns.currencies)
    .bind::<Array<Text>, _>(columns.statuses)
    .bind::<Array<Nullable<Text>>, _>(columns.receipts)
    .bind::<Array<Nullable<Text>>, _>(columns.reasons)
    .load(conn)
    .await?;
    Ok(moved
        .into_iter()
        .map(|row| (row.id, row.wallet_id))
        .collect())
}

#[derive(Default)]
struct ResultColumns<'a> {
    payments: Vec<Uuid>,
    wallets: Vec<Uuid>,
    amounts: Vec<Decimal>,
    currencies: Vec<&'static str>,
    statuses: Vec<&'static str>,
    receipts: Vec<Option<&'a str>>,
    reasons: Vec<Option<&'a str>>,
}

impl<'a> ResultColumns<'a> {
    fn push(&mut self, event: &'a BillEvent) {
        let money = money(event);
        self.payments.push(event.payment_id());
        self.wallets.push(wallet_id(event));
        self.amounts.push(money.value());
        self.currencies.push(money.currency().code());
        let (status, receipt, reason) = match event {
            BillEvent::Paid(paid) => ("paid", Some(paid.receipt.as_str()), None),
            BillEvent::Failed(failed) => ("refunded", None, Some(failed.reason.as_str())),
        };
        self.statuses.push(status);
        self.receipts.push(receipt);
        self.reasons.push(reason);
    }
}
