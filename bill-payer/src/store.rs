//! The table `bills` as a queue: taking bills in, and claiming those that are due.
//!
//! A claim is a lease: whoever has it calls the provider, and nobody else does until the lease ends.
//! A crash therefore delays a bill by the lease and loses nothing. [`crate::record`] gives it back.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use chassis::TraceContext;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Integer, Nullable, Numeric, Text, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use events::{Amount, BillPaymentRequested, Money};
use outbox::statement;
use rust_decimal::Decimal;
use tracing::error;
use uuid::Uuid;

use crate::domain::{AttemptState, Call, Status};

/// A bill as its event asks for it.
#[derive(Debug, Clone)]
pub struct NewBill {
    pub request: BillPaymentRequested,
    pub trace: TraceContext,
}

/// What became of a bill that was to be taken in.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Intake {
    Inserted,
    /// The bill was there: the event came again.
    Again,
    /// The payment id stands for another bill, which stays as it is. `difference` names the fields that differ, for an
    /// operator to read.
    Conflict {
        difference: String,
    },
}

/// Inserts `bills` and returns for each, in order, what became of it.
///
/// In payment id order, so that two consumers with the same events wait for each other at most once.
pub async fn insert(conn: &mut AsyncPgConnection, bills: &[NewBill]) -> QueryResult<Vec<Intake>> {
    #[derive(QueryableByName)]
    struct Inserted {
        #[diesel(sql_type = SqlUuid)]
        payment_id: Uuid,
    }
    if bills.is_empty() {
        return Ok(Vec::new());
    }
    // Of two bills with one payment id in the batch, the first is inserted.
    let inserted: Vec<Inserted> = statement(
        "insert into bills \
         (payment_id, wallet_id, amount, currency, provider, account_number, traceparent, tracestate) \
         select payment_id, wallet_id, amount, currency, provider, account_number, traceparent, tracestate \
         from unnest($1, $2, $3, $4, $5, $6, $7, $8) with ordinality as bill \
         (payment_id, wallet_id, amount, currency, provider, account_number, traceparent, tracestate, position) \
         order by payment_id, position \
         on conflict do nothing returning payment_id",
    )
    .column::<SqlUuid, _, _>(bills, |bill| bill.request.payment_id)
    .column::<SqlUuid, _, _>(bills, |bill| bill.request.wallet_id)
    .column::<Numeric, _, _>(bills, |bill| bill.request.money.value())
    .column::<Text, _, _>(bills, |bill| bill.request.money.currency().code())
    .column::<Text, _, _>(bills, |bill| bill.request.provider.as_str())
    .column::<Text, _, _>(bills, |bill| bill.request.account_number.as_str())
    .column::<Text, _, _>(bills, |bill| bill.trace.traceparent())
    .column::<Text, _, _>(bills, |bill| bill.trace.tracestate())
    .load(conn)
    .await?;
    let mut inserted: HashSet<Uuid> = inserted.into_iter().map(|row| row.payment_id).collect();
    let new_ids = bills.iter().map(|bill| bill.request.payment_id);
    let is_new: Vec<bool> = new_ids.map(|id| inserted.remove(&id)).collect();
    let known = bills.iter().zip(&is_new).filter(|(_, is_new)| !**is_new);
    let known = known.map(|(bill, _)| bill.request.payment_id).collect();
    let known = find(conn, known).await?;
    let outcomes = bills.iter().zip(is_new).map(|(bill, is_new)| {
        let difference = known
            .get(&bill.request.payment_id)
            .and_then(|known| known.difference(&bill.request));
        match (is_new, difference) {
            (true, _) => Intake::Inserted,
            (false, None) => Intake::Again,
            (false, Some(difference)) => Intake::Conflict { difference },
        }
    });
    Ok(outcomes.collect())
}

/// What a row of `bills` says of the bill that is to be paid.
#[derive(QueryableByName)]
struct BillRow {
    #[diesel(sql_type = SqlUuid)]
    payment_id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    wallet_id: Uuid,
    #[diesel(sql_type = Numeric)]
    amount: Decimal,
    #[diesel(sql_type = Text)]
    currency: String,
    #[diesel(sql_type = Text)]
    provider: String,
    #[diesel(sql_type = Text)]
    account_number: String,
}

impl BillRow {
    /// Returns how `request` differs, for an operator to read.
    fn difference(&self, request: &BillPaymentRequested) -> Option<String> {
        let amount = |value: Decimal| value.normalize().to_string();
        let money = request.money;
        let (old_wallet, new_wallet) = (self.wallet_id.to_string(), request.wallet_id.to_string());
        let (old_amount, new_amount) = (amount(self.amount), amount(money.value()));
        let fields: [(&str, &str, &str); 5] = [
            ("wallet", &old_wallet, &new_wallet),
            ("amount", &old_amount, &new_amount),
            ("currency", &self.currency, money.currency().code()),
            ("provider", &self.provider, &request.provider),
            (
                "account number",
                &self.account_number,
                &request.account_number,
            ),
        ];
        let differing = fields.into_iter().filter(|(_, old, new)| old != new);
        let differing = differing.map(|(name, old, new)| format!("{name} {old:?}, not {new:?}"));
        let differing: Vec<String> = differing.collect();
        (!differing.is_empty()).then(|| differing.join("; "))
    }
}

async fn find(
    conn: &mut AsyncPgConnection,
    payment_ids: Vec<Uuid>,
) -> QueryResult<HashMap<Uuid, BillRow>> {
    if payment_ids.is_empty() {
        return Ok(HashMap::new());
    }
    let bills: Vec<BillRow> = statement(
        "select payment_id, wallet_id, amount, currency, provider, account_number \
         from bills where payment_id = any($1)",
    )
    .bind::<Array<SqlUuid>, _>(payment_ids)
    .load(conn)
    .await?;
    Ok(bills
        .into_iter()
        .map(|bill| (bill.payment_id, bill))
        .collect())
}

/// A bill that this executor has for the time of the lease.
#[derive(Debug, Clone)]
pub struct ClaimedBill {
    pub request: BillPaymentRequested,
    pub trace: TraceContext,
    pub call: Call,
    /// Counts the call that is about to begin.
    pub attempt_state: AttemptState,
    /// The claim to record the result by.
    pub claim: Uuid,
}

/// Claims up to `bills_max` bills that are due for `lease`: for `call` or, without one, for either; the bills that have
/// waited longest first.
pub async fn claim(
    conn: &mut AsyncPgConnection,
    call: Option<Call>,
    bills_max: usize,
    lease: Duration,
) -> QueryResult<Vec<ClaimedBill>> {
    let claim = Uuid::now_v7();
    let calls = call.map_or_else(|| vec![Call::Pay, Call::Cancel], |call| vec![call]);
    let statuses: Vec<&str> = calls.iter().map(|it| it.status().into_str()).collect();
    let rows: Vec<ClaimedRow> = statement(
        "with due as materialized ( \
             select payment_id from bills \
             where status in ('paying', 'cancelling') and status = any($1) \
             and next_attempt_at <= now() \
             order by next_attempt_at limit $2 \
             for no key update skip locked) \
         update bills set claim = $3, attempts = attempts + 1, updated_at = now(), \
             next_attempt_at = now() + $4 * interval '1 millisecond' \
         from due where bills.payment_id = due.payment_id \
         returning bills.payment_id, wallet_id, amount, currency, provider, account_number, \
             traceparent, tracestate, status, attempts, \
             (extract(epoch from now() - failing_since) * 1000)::bigint as failing_ms",
    )
    .bind::<Array<Text>, _>(statuses)
    .bind::<BigInt, _>(i64::try_from(bills_max).unwrap_or(i64::MAX))
    .bind::<SqlUuid, _>(claim)
    .bind::<BigInt, _>(milliseconds(lease))
    .load(conn)
    .await?;
    let claimed = rows.into_iter().filter_map(|row| {
        let payment_id = row.bill.payment_id;
        let bill = row.claimed(claim);
        if bill.is_none() {
            error!(%payment_id, "the bill's row was changed by hand and can't be read; correct it");
        }
        bill
    });
    Ok(claimed.collect())
}

pub(crate) fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[derive(QueryableByName)]
struct ClaimedRow {
    #[diesel(embed)]
    bill: BillRow,
    #[diesel(sql_type = Text)]
    traceparent: String,
    #[diesel(sql_type = Text)]
    tracestate: String,
    #[diesel(sql_type = Text)]
    status: String,
    #[diesel(sql_type = Integer)]
    attempts: i32,
    #[diesel(sql_type = Nullable<BigInt>)]
    failing_ms: Option<i64>,
}

impl ClaimedRow {
    /// `None` if the row is not one that [`insert`] has written: it would stop all others.
    fn claimed(self, claim: Uuid) -> Option<ClaimedBill> {
        let bill = self.bill;
        let amount: Amount = bill.amount.normalize().to_string().parse().ok()?;
        let failing_ms = u64::try_from(self.failing_ms.unwrap_or_default()).unwrap_or_default();
        Some(ClaimedBill {
            request: BillPaymentRequested {
                payment_id: bill.payment_id,
                wallet_id: bill.wallet_id,
                money: Money::new(amount, bill.currency.parse().ok()?).ok()?,
                provider: bill.provider,
                account_number: bill.account_number,
                idempotency_key: None,
                redriven: false,
            },
            trace: TraceContext::of_message(&self.traceparent, &self.tracestate),
            call: match self.status.parse().ok()? {
                Status::Paying => Call::Pay,
                Status::Cancelling => Call::Cancel,
                Status::Parked | Status::Paid | Status::Failed => return None,
            },
            attempt_state: AttemptState {
                attempts: u32::try_from(self.attempts).ok()?,
                failing_for: Duration::from_millis(failing_ms),
            },
            claim,
        })
    }
}
