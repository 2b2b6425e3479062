//! Results of bill payments: each settles or refunds its payment once.
//!
//! | step | statement | lock | why here |
//! | --- | --- | --- | --- |
//! | 1 | `insert inbox` | the events' sources and ids | a redelivery ends here; a concurrent one waits; another event with this id is a dead letter |
//! | 2 | `select wallets ... for no key update` | wallets to be refunded, in id order | the same order as payments take them |
//! | 3 | `update payments` where pending, and of the same wallet, amount, provider and account | their rows | a payment moves forward once, whoever says so, and for the bill that it was debited for |
//! | 3a | steps 2 and 3 again, for results that moved nothing | their wallets | a relay that follows the log publishes an event a moment before its payment can be seen: who pays holds the wallet until then |
//! | 4 | `insert transfers` | their rows | clearing to provider, or back to the wallet |
//! | 5 | `update wallets` | held since 2 | refunds |
//! | 6 | `insert dead_letters` | their rows | results that fit no payment |
//! | 7 | `commit` | releases all | then, and only then, the offsets |

use std::collections::{BTreeMap, HashMap, HashSet};

use chassis::TraceContext;
use chassis::consumer::{HandleError, Handler, Record};
use chassis::database::Pool;
use chassis::telemetry::chain;
use diesel::prelude::*;
use diesel::sql_types::{Nullable, Numeric, Text, Uuid as SqlUuid};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl};
use events::{BILL_SOURCE, BillEvent, BillPaid, BillPaymentFailed, Envelope, Message as _};
use operations::dead_letter::NewDeadLetter;
use operations::dead_letters::{self, Redeliver, RedeliverError, dead_letter};
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
    outcomes: BTreeMap<&'static str, u64>,
}

impl Settlement {
    #[must_use]
    pub const fn new(pool: Pool) -> Self {
        Self {
            pool,
            outcomes: BTreeMap::new(),
        }
    }

    /// Results so far, by outcome: what the metric counts.
    pub(crate) const fn outcomes(&self) -> &BTreeMap<&'static str, u64> {
        &self.outcomes
    }

    fn count(&mut self, outcome: &'static str, results: usize) {
        let results = u64::try_from(results).unwrap_or(u64::MAX);
        metrics::counter!("bill_results_total", "outcome" => outcome).increment(results);
        *self.outcomes.entry(outcome).or_default() += results;
    }
}

impl Handler for Settlement {
    async fn handle(&mut self, batch: &[Record]) -> Result<(), HandleError> {
        let mut results = Vec::with_capacity(batch.len());
        let mut letters = Vec::new();
        for record in batch {
            match read(record) {
                Ok(result) => results.push(result),
                Err(reason) => letters.push(dead_letter(SERVICE, record, reason)),
            }
        }
        let mut conn = self.pool.get().await?;
        let report = conn
            .transaction(async |conn| settle(conn, &results, letters).await)
            .await?;
        report.log();
        self.count("settled", report.settled.len());
        self.count("refunded", report.refunded.len());
        self.count("again", report.again);
        self.count("conflict", report.conflicts);
        self.count("dead_letter", report.dead_letters);
        Ok(())
    }

    async fn reject(&mut self, record: &Record, reason: &str) -> Result<(), HandleError> {
        dead_letters::store(&self.pool, SERVICE, record, reason).await?;
        self.count("dead_letter", 1);
        Ok(())
    }
}

/// Takes the message of a dead letter. The inbox may know its event, which moved nothing then. So here the payment
/// alone decides: it moves once, whoever says so.
impl Redeliver for Settlement {
    async fn redeliver(
        &self,
        conn: &mut AsyncPgConnection,
        _: &str,
        record: &Record,
    ) -> Result<(), RedeliverError> {
        let result = read(record).map_err(RedeliverError::Refused)?;
        let _: Vec<Seen> = inbox::take(conn, SERVICE, &[result.identity()]).await?;
        let report = apply(conn, vec![&result], Vec::new(), Report::default()).await?;
        if report.dead_letters > 0 {
            return Err(RedeliverError::Refused(unmatched_reason(&result.event)));
        }
        Ok(())
    }
}

/// A result of a bill payment, and the record that it was read from.
struct BillResult<'a> {
    record: &'a Record,
    event_id: Uuid,
    trace: TraceContext,
    event: BillEvent,
}

fn read(record: &Record) -> Result<BillResult<'_>, String> {
    let (key, payload) = (record.key.as_deref(), record.payload.as_deref());
    let (envelope, event) =
        Envelope::read(key, record.header_values(), payload).map_err(|error| chain(&error))?;
    Ok(BillResult {
        record,
        event_id: envelope.id,
        trace: TraceContext::of_message(envelope.traceparent, envelope.tracestate),
        event,
    })
}

impl BillResult<'_> {
    /// The hash is over the decoded event: a payload in another spelling says the same.
    fn identity(&self) -> EventIdentity<'static> {
        let (event_type, payload) = match &self.event {
            BillEvent::Paid(paid) => (BillPaid::TYPE, serde_json::to_vec(paid)),
            BillEvent::Failed(failed) => (BillPaymentFailed::TYPE, serde_json::to_vec(failed)),
        };
        let mut hash = Sha256::new();
        hash.update(event_type);
        hash.update(payload.expect("a result that was decoded is JSON by its type"));
        EventIdentity {
            source: BILL_SOURCE,
            id: self.event_id,
            fingerprint: hash.finalize().into(),
        }
    }
}

/// What a batch did, to be logged and counted once it is committed.
#[derive(Default)]
struct Report<'a> {
    settled: Vec<&'a BillResult<'a>>,
    refunded: Vec<&'a BillResult<'a>>,
    again: usize,
    conflicts: usize,
    dead_letters: usize,
}

impl Report<'_> {
    fn log(&self) {
        for (results, outcome) in [(&self.settled, "settled"), (&self.refunded, "refunded")] {
            for result in results {
                let payment_id = result.event.payment_id();
                let trace_id = result.trace.trace_id();
                info!(%payment_id, %trace_id, "payment {outcome}");
            }
        }
        let (again, dead_letters) = (self.again, self.dead_letters);
        debug!(again, dead_letters, "results taken");
    }
}

/// Steps 1 to 6.
async fn settle<'a>(
    conn: &mut AsyncPgConnection,
    results: &'a [BillResult<'a>],
    mut letters: Vec<NewDeadLetter>,
) -> QueryResult<Report<'a>> {
    let identities: Vec<EventIdentity<'_>> = results.iter().map(BillResult::identity).collect();
    let seen = inbox::take(conn, SERVICE, &identities).await?;
    let mut first = Vec::new();
    let mut report = Report::default();
    for (result, seen) in results.iter().zip(seen) {
        match seen {
            Seen::First => first.push(result),
            Seen::Again => report.again += 1,
            Seen::Conflict => {
                let event_id = result.event_id;
                let reason = format!("the event {event_id} is known with another content");
                letters.push(dead_letter(SERVICE, result.record, reason));
                report.conflicts += 1;
            }
        }
    }
    apply(conn, first, letters, report).await
}

/// Steps 2 to 6, for results that are not known to have moved anything.
async fn apply<'a>(
    conn: &mut AsyncPgConnection,
    first: Vec<&'a BillResult<'a>>,
    mut letters: Vec<NewDeadLetter>,
    mut report: Report<'a>,
) -> QueryResult<Report<'a>> {
    // Steps 2 and 3, with one result for each payment: a second one meets a payment that has moved.
    let mut results: HashMap<Uuid, &BillResult<'_>> = HashMap::new();
    for result in &first {
        results.entry(result.event.payment_id()).or_insert(result);
    }
    let events: Vec<&BillEvent> = results.values().map(|result| &result.event).collect();
    let refunds = events
        .iter()
        .filter(|event| matches!(event, BillEvent::Failed(_)));
    lock_wallets(conn, refunds.map(|event| event.wallet_id()).collect()).await?;
    let mut moved = move_payments(conn, &events).await?;
    // Step 3a.
    let mut unmatched = events;
    unmatched.retain(|event| !moved.contains(&event.payment_id()));
    let wallets = unmatched.iter().map(|event| event.wallet_id());
    lock_wallets(conn, wallets.collect()).await?;
    moved.extend(move_payments(conn, &unmatched).await?);
    let (moving, others): (Vec<_>, Vec<_>) = first.into_iter().partition(|result| {
        let id = result.event.payment_id();
        let speaks = results.get(&id).map(|first| first.event_id);
        moved.contains(&id) && speaks == Some(result.event_id)
    });
    // A result that moved nothing is dropped only if its payment has ended with the same.
    let ended = find_ended(conn, &others).await?;
    for other in others {
        let known = ended.get(&other.event.payment_id());
        if known.is_some_and(|known| repeats(&other.event, known)) {
            report.again += 1;
        } else {
            let reason = unmatched_reason(&other.event);
            letters.push(dead_letter(SERVICE, other.record, reason));
        }
    }
    // Steps 4 and 5: the money of the payments that moved.
    let mut transfers = Vec::new();
    let mut refunds: HashMap<Uuid, Decimal> = HashMap::new();
    for result in moving {
        let event = &result.event;
        let (id, wallet_id, money) = (event.payment_id(), event.wallet_id(), event.money());
        let kind = match event {
            BillEvent::Paid(_) => {
                report.settled.push(result);
                Kind::Settlement
            }
            BillEvent::Failed(_) => {
                report.refunded.push(result);
                *refunds.entry(wallet_id).or_default() += money.value();
                Kind::Refund
            }
        };
        transfers.push(Transfer::of_payment(kind, wallet_id, money, id));
    }
    ledger::post(conn, &transfers).await?;
    ledger::change_balances(conn, refunds).await?;
    // Step 6.
    report.dead_letters = letters.len();
    operations::dead_letter::record(conn, &letters).await?;
    Ok(report)
}

/// Why a result becomes a dead letter. It says something about money, so it is never dropped silently.
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

/// The status that a result gives its payment.
const fn status(event: &BillEvent) -> &'static str {
    match event {
        BillEvent::Paid(_) => "paid",
        BillEvent::Failed(_) => "refunded",
    }
}

fn receipt(event: &BillEvent) -> Option<&str> {
    match event {
        BillEvent::Paid(paid) => Some(&paid.receipt),
        BillEvent::Failed(_) => None,
    }
}

fn reason(event: &BillEvent) -> Option<&str> {
    match event {
        BillEvent::Paid(_) => None,
        BillEvent::Failed(failed) => Some(&failed.reason),
    }
}

/// Whether `event` says what `payment` ended with: the result came again under another event id. The reason of a refund
/// may differ: it moves no money.
fn repeats(event: &BillEvent, payment: &PaymentRow) -> bool {
    let same_payee = event.payee().is_none_or(|payee| {
        payee.provider == payment.provider && payee.account_number == payment.account_number
    });
    payment.status == status(event)
        && payment.receipt.as_deref() == receipt(event)
        && payment.wallet_id == event.wallet_id()
        && payment.amount == event.money().value()
        && payment.currency == event.money().currency().code()
        && same_payee
}

async fn find_ended(
    conn: &mut AsyncPgConnection,
    results: &[&BillResult<'_>],
) -> QueryResult<HashMap<Uuid, PaymentRow>> {
    use schema::payments::dsl;
    if results.is_empty() {
        return Ok(HashMap::new());
    }
    let ids = results.iter().map(|result| result.event.payment_id());
    let payments: Vec<PaymentRow> = dsl::payments
        .filter(dsl::id.eq_any(ids))
        .filter(dsl::status.eq_any(["paid", "refunded"]))
        .select(PaymentRow::as_select())
        .load(conn)
        .await?;
    let payments = payments.into_iter();
    Ok(payments.map(|payment| (payment.id, payment)).collect())
}

/// Step 2.
async fn lock_wallets(conn: &mut AsyncPgConnection, wallets: Vec<Uuid>) -> QueryResult<()> {
    use schema::wallets::dsl;
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

/// Step 3. Returns the payments that moved.
async fn move_payments(
    conn: &mut AsyncPgConnection,
    results: &[&BillEvent],
) -> QueryResult<HashSet<Uuid>> {
    #[derive(QueryableByName)]
    struct Moved {
        #[diesel(sql_type = SqlUuid)]
        id: Uuid,
    }
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
    .column::<Text, _, _>(results, |event| status(event))
    .column::<Nullable<Text>, _, _>(results, |event| receipt(event))
    .column::<Nullable<Text>, _, _>(results, |event| reason(event))
    .column::<Nullable<Text>, _, _>(results, |event| event.payee().map(|payee| &payee.provider))
    .column::<Nullable<Text>, _, _>(results, |event| event.payee().map(|payee| &payee.account_number))
    .load(conn)
    .await?;
    Ok(moved.into_iter().map(|row| row.id).collect())
}
