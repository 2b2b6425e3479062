//! The table `bills` as a queue: taking bills in, and claiming those that are due.
//!
//! A claim is a lease: whoever has it calls the provider, and nobody else does until the lease ends.
//! A crash therefore delays a bill by the lease and loses nothing. [`crate::record`] gives it back.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use chassis::Traceparent;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Integer, Nullable, Numeric, Text, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use events::{Amount, BillPaymentRequested, Money};
use outbox::statement;
use rust_decimal::Decimal;
use tracing::error;
use uuid::Uuid;

use crate::domain::{Call, Status, Tries};

/// A bill as its event asks for it.
#[derive(Debug, Clone)]
pub struct NewBill {
    /// What is to be paid.
    pub request: BillPaymentRequested,
    /// The trace that the event came with.
    pub traceparent: Traceparent,
}

/// What became of a bill that was to be taken in.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Intake {
    /// It is there now.
    Inserted,
    /// It was there: the event came again.
    Again,
    /// Its payment id stands for another bill, which stays as it is.
    Conflict {
        /// Which fields differ, and how.
        difference: String,
    },
}

/// Inserts `bills` and returns for each, in order, what became of it.
///
/// In payment id order, so that two consumers with the same events wait for each other at most once.
///
/// # Errors
/// The database fails; nothing is stored.
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
         (payment_id, wallet_id, amount, currency, provider, account_number, traceparent) \
         select payment_id, wallet_id, amount, currency, provider, account_number, traceparent \
         from unnest($1, $2, $3, $4, $5, $6, $7) with ordinality as bill \
         (payment_id, wallet_id, amount, currency, provider, account_number, traceparent, position) \
         order by payment_id, position \
         on conflict do nothing returning payment_id",
    )
    .column::<SqlUuid, _, _>(bills, |bill| bill.request.payment_id)
    .column::<SqlUuid, _, _>(bills, |bill| bill.request.wallet_id)
    .column::<Numeric, _, _>(bills, |bill| bill.request.money.value())
    .column::<Text, _, _>(bills, |bill| bill.request.money.currency().code())
    .column::<Text, _, _>(bills, |bill| bill.request.provider.as_str())
    .column::<Text, _, _>(bills, |bill| bill.request.account_number.as_str())
    .column::<Text, _, _>(bills, |bill| bill.traceparent.to_string())
    .load(conn)
    .await?;
    let mut inserted: HashSet<Uuid> = inserted.into_iter().map(|row| row.payment_id).collect();
    let is_new: Vec<bool> = bills
        .iter()
        .map(|bill| inserted.remove(&bill.request.payment_id))
        .collect();
    let known = bills.iter().zip(&is_new).filter(|(_, is_new)| !**is_new);
    let known = find(
        conn,
        known.map(|(bill, _)| bill.request.payment_id).collect(),
    )
    .await?;
    let taken = bills.iter().zip(is_new).map(|(bill, is_new)| {
        let difference = known
            .get(&bill.request.payment_id)
            .and_then(|known| known.difference(&bill.request));
        match (is_new, difference) {
            (true, _) => Intake::Inserted,
            (false, None) => Intake::Again,
            (false, Some(difference)) => Intake::Conflict { difference },
        }
    });
    Ok(taken.collect())
}

/// A bill that was there before.
#[derive(QueryableByName)]
struct KnownBill {
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

impl KnownBill {
    /// What `request` says otherwise, for an operator to read; none if it asks for the same.
    fn difference(&self, request: &BillPaymentRequested) -> Option<String> {
        let money = request.money;
        let fields = [
            (
                "wallet",
                self.wallet_id.to_string(),
                request.wallet_id.to_string(),
            ),
            (
                "amount",
                self.amount.normalize().to_string(),
                money.value().normalize().to_string(),
            ),
            (
                "currency",
                self.currency.clone(),
                money.currency().code().to_owned(),
            ),
            ("provider", self.provider.clone(), request.provider.clone()),
            (
                "account number",
                self.account_number.clone(),
                request.account_number.clone(),
            ),
        ];
        let differing = fields.into_iter().filter(|(_, known, new)| known != new);
        let differing =
            differing.map(|(name, known, new)| format!("{name} {known:?}, not {new:?}"));
        let differing: Vec<String> = differing.collect();
        (!differing.is_empty()).then(|| differing.join("; "))
    }
}

async fn find(
    conn: &mut AsyncPgConnection,
    payment_ids: Vec<Uuid>,
) -> QueryResult<HashMap<Uuid, KnownBill>> {
    if payment_ids.is_empty() {
        return Ok(HashMap::new());
    }
    let bills: Vec<KnownBill> = statement(
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
    /// What is to be paid.
    pub request: BillPaymentRequested,
    /// The trace that follows the payment.
    pub traceparent: Traceparent,
    /// What to ask the provider.
    pub call: Call,
    /// Calls of that kind so far, with the one that is about to begin.
    pub tries: Tries,
    /// The claim to record the answer by.
    pub claim: Uuid,
}

/// Claims up to `bills_max` bills that are due, for `call` or, without one, for either; those that have
/// waited longest first, for `lease`.
///
/// # Errors
/// Whatever the database says; nothing is claimed, or claimed by nobody until the lease ends.
pub async fn claim(
    conn: &mut AsyncPgConnection,
    call: Option<Call>,
    bills_max: usize,
    lease: Duration,
) -> QueryResult<Vec<ClaimedBill>> {
    let claim = Uuid::now_v7();
    let statuses: Vec<&str> = match call {
        None => vec![Status::Paying.as_str(), Status::Cancelling.as_str()],
        Some(Call::Pay) => vec![Status::Paying.as_str()],
        Some(Call::Cancel) => vec![Status::Cancelling.as_str()],
    };
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
             traceparent, status, attempts, \
             (extract(epoch from now() - failing_since) * 1000)::bigint as failing_ms",
    )
    .bind::<Array<Text>, _>(statuses)
    .bind::<BigInt, _>(i64::try_from(bills_max).unwrap_or(i64::MAX))
    .bind::<SqlUuid, _>(claim)
    .bind::<BigInt, _>(milliseconds(lease))
    .load(conn)
    .await?;
    let claimed = rows.into_iter().filter_map(|row| {
        let payment_id = row.payment_id;
        let bill = row.bill(claim);
        if bill.is_none() {
            error!(%payment_id, "the bill's row was changed by hand and can't be read; correct it");
        }
        bill
    });
    Ok(claimed.collect())
}

/// A time as the statements here take it.
pub(crate) fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[derive(QueryableByName)]
struct ClaimedRow {
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
    #[diesel(sql_type = Text)]
    traceparent: String,
    #[diesel(sql_type = Text)]
    status: String,
    #[diesel(sql_type = Integer)]
    attempts: i32,
    #[diesel(sql_type = Nullable<BigInt>)]
    failing_ms: Option<i64>,
}

impl ClaimedRow {
    /// None if the row is not one that [`insert`] has written: it would stop all others.
    fn bill(self, claim: Uuid) -> Option<ClaimedBill> {
        let amount: Amount = self.amount.normalize().to_string().parse().ok()?;
        Some(ClaimedBill {
            request: BillPaymentRequested {
                payment_id: self.payment_id,
                wallet_id: self.wallet_id,
                money: Money::new(amount, self.currency.parse().ok()?).ok()?,
                provider: self.provider,
                account_number: self.account_number,
                idempotency_key: None,
                redriven: false,
            },
            traceparent: self
                .traceparent
                .parse()
                .unwrap_or_else(|_| Traceparent::start()),
            call: match self.status.parse().ok()? {
                Status::Paying => Call::Pay,
                Status::Cancelling => Call::Cancel,
                Status::Parked | Status::Paid | Status::Failed => return None,
            },
            tries: Tries {
                attempts: u32::try_from(self.attempts).ok()?,
                failing_for: Duration::from_millis(
                    u64::try_from(self.failing_ms.unwrap_or_default()).unwrap_or_default(),
                ),
            },
            claim,
        })
    }
}
