//! The hot transaction: a batch of payments, all of it or nothing.
//!
//! | step | statement | lock | why here |
//! | --- | --- | --- | --- |
//! | 1 | `select wallets ... order by id for no key update` | the batch's wallet rows, in id order | two batches meet in the same order, so they wait and never deadlock; from here on a wallet's order of `seq` is its order of commits |
//! | 2 | `select payments` by wallet and key | none | under the wallet's lock nobody else can add the key |
//! | 3 | [`domain::decide`] | none | pure: funds, currency, keys |
//! | 4 | `insert payments` | their rows | transfers refer to them |
//! | 5 | `insert transfers` | their rows | the ledger |
//! | 6 | `update wallets` | held since 1 | the balance, a cache of the ledger |
//! | 7 | `insert outbox` | their rows | last, behind the locks: see step 1 |
//! | 8 | `commit` | releases all | one flush of the log for the whole batch |
//!
//! Nothing here waits for anything but the database.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Binary, Numeric, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl};
use events::{BillPaymentRequested, Money, WALLET_AGGREGATE};
use outbox::{AppendError, NewEvent, statement};
use rust_decimal::Decimal;
use uuid::Uuid;

use crate::domain::{
    self, Decision, Decline, IdempotencyKey, KeySource, KnownPayment, PayBill, Wallet,
};
use crate::ledger::{self, Kind, Transfer};
use crate::{SERVICE, schema};

/// A payment as it was accepted: what the first answer said, and what every repetition says again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The payment's id.
    pub payment_id: Uuid,
    /// What left the wallet.
    pub money: Money,
    /// When, by the database's clock.
    pub created_at: DateTime<Utc>,
    /// Whether an earlier request did it.
    pub replayed: Replayed,
}

/// Whether a request was the first with its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replayed {
    /// It was.
    No,
    /// An earlier one was, and this is its answer again.
    Yes,
}

/// Why a batch was not written; none of it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BatchError {
    #[error("writing a batch of payments")]
    Database(#[from] diesel::result::Error),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error("wallet {0} has a currency that is none")]
    Currency(Uuid),
    #[error("an event could not be written as JSON")]
    Json(#[from] serde_json::Error),
}

/// Whether the batch has been tried before, and may have been committed unnoticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Try {
    First,
    Again,
}

/// Who publishes the events of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Publishing {
    /// The relay: step 7 hands them to the outbox.
    ByRelay,
    /// The caller, by itself: step 7 is left out.
    ByCaller,
}

/// Decides and writes a batch in a transaction; answers for each request, in order.
pub(crate) async fn write_batch(
    conn: &mut AsyncPgConnection,
    batch: &[PayBill],
    attempt: Try,
    publishing: Publishing,
) -> Result<Vec<Result<Accepted, Decline>>, BatchError> {
    conn.transaction(async |conn| pay_batch(conn, batch, attempt, publishing).await)
        .await
}

/// Steps 1 to 7, in the caller's transaction.
pub(crate) async fn pay_batch(
    conn: &mut AsyncPgConnection,
    batch: &[PayBill],
    attempt: Try,
    publishing: Publishing,
) -> Result<Vec<Result<Accepted, Decline>>, BatchError> {
    let (mut wallets, now) =
        lock_wallets(conn, batch.iter().map(|request| request.wallet_id)).await?;
    let stored = find_by_key(conn, batch, attempt).await?;
    let mut known = stored
        .values()
        .map(|payment| (payment.key(), payment.known()))
        .collect();
    let decisions = domain::decide(batch, &mut wallets, &mut known);
    write_accepted(conn, batch, &decisions, publishing).await?;
    let mut accepted = stored
        .into_values()
        .map(|payment| Ok((payment.id, payment.accepted()?)))
        .collect::<Result<HashMap<_, _>, BatchError>>()?;
    Ok(batch
        .iter()
        .zip(decisions)
        .map(|(request, decision)| answer(request, decision, now, &mut accepted))
        .collect())
}

fn answer(
    request: &PayBill,
    decision: Decision,
    now: DateTime<Utc>,
    accepted: &mut HashMap<Uuid, Accepted>,
) -> Result<Accepted, Decline> {
    match decision {
        Decision::Decline(decline) => Err(decline),
        Decision::Accept(money) => {
            let payment = Accepted {
                payment_id: request.payment_id,
                money,
                created_at: now,
                replayed: Replayed::No,
            };
            accepted.insert(request.payment_id, payment.clone());
            Ok(payment)
        }
        Decision::Replay(payment_id) => {
            let payment = accepted
                .get(&payment_id)
                .expect("a replayed payment is stored or was accepted earlier in this batch");
            // Its own id: this very request was committed by a try whose answer was lost.
            let replayed = if payment_id == request.payment_id {
                Replayed::No
            } else {
                Replayed::Yes
            };
            Ok(Accepted {
                replayed,
                ..payment.clone()
            })
        }
    }
}

/// Step 1.
pub(crate) async fn lock_wallets(
    conn: &mut AsyncPgConnection,
    ids: impl Iterator<Item = Uuid>,
) -> Result<(HashMap<Uuid, Wallet>, DateTime<Utc>), BatchError> {
    use schema::wallets::dsl;
    let mut ids: Vec<Uuid> = ids.collect();
    ids.sort_unstable();
    ids.dedup();
    let rows: Vec<(Uuid, String, Decimal, DateTime<Utc>)> = dsl::wallets
        .filter(dsl::id.eq_any(ids))
        .order(dsl::id)
        .select((
            dsl::id,
            dsl::currency,
            dsl::balance,
            diesel::dsl::now.into_sql::<Timestamptz>(),
        ))
        .for_no_key_update()
        .load(conn)
        .await?;
    let now = rows.as_slice().first().map(|row| row.3).unwrap_or_default();
    let wallets = rows
        .into_iter()
        .map(|(id, currency, balance, _)| {
            let currency = currency.parse().map_err(|_| BatchError::Currency(id))?;
            Ok((id, Wallet { currency, balance }))
        })
        .collect::<Result<_, BatchError>>()?;
    Ok((wallets, now))
}

#[derive(QueryableByName)]
pub(crate) struct StoredPayment {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    wallet_id: Uuid,
    #[diesel(sql_type = Text)]
    idempotency_key: String,
    #[diesel(sql_type = Binary)]
    fingerprint: Vec<u8>,
    #[diesel(sql_type = Numeric)]
    amount: Decimal,
    #[diesel(sql_type = Text)]
    currency: String,
    #[diesel(sql_type = Timestamptz)]
    created_at: DateTime<Utc>,
}

impl StoredPayment {
    pub(crate) fn key(&self) -> (Uuid, IdempotencyKey) {
        let key = self
            .idempotency_key
            .parse()
            .expect("a stored key was valid when it was stored");
        (self.wallet_id, key)
    }

    fn known(&self) -> KnownPayment {
        KnownPayment {
            payment_id: self.id,
            fingerprint: self.fingerprint.clone(),
        }
    }

    fn accepted(&self) -> Result<Accepted, BatchError> {
        Ok(Accepted {
            payment_id: self.id,
            money: ledger::stored_money(self.amount, &self.currency)
                .ok_or(BatchError::Currency(self.wallet_id))?,
            created_at: self.created_at,
            replayed: Replayed::Yes,
        })
    }
}

/// Step 2. A key that was made up for this request needs no look, unless the request was tried before.
pub(crate) async fn find_by_key(
    conn: &mut AsyncPgConnection,
    batch: &[PayBill],
    attempt: Try,
) -> Result<HashMap<Uuid, StoredPayment>, BatchError> {
    let asked: Vec<&PayBill> = batch
        .iter()
        .filter(|request| attempt == Try::Again || request.key_source == KeySource::Client)
        .collect();
    if asked.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<StoredPayment> = statement(
        "select id, wallet_id, idempotency_key, fingerprint, amount, currency, created_at \
         from payments where (wallet_id, idempotency_key) in (select * from unnest($1, $2))",
    )
    .column::<SqlUuid, _, _>(&asked, |request| request.wallet_id)
    .column::<Text, _, _>(&asked, |request| request.key.as_str())
    .load(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row)).collect())
}

/// Steps 4 to 7, for the requests that were accepted.
async fn write_accepted(
    conn: &mut AsyncPgConnection,
    batch: &[PayBill],
    decisions: &[Decision],
    publishing: Publishing,
) -> Result<(), BatchError> {
    let accepted: Vec<(&PayBill, Money)> = batch
        .iter()
        .zip(decisions)
        .filter_map(|(request, decision)| match decision {
            Decision::Accept(money) => Some((request, *money)),
            Decision::Replay(_) | Decision::Decline(_) => None,
        })
        .collect();
    if accepted.is_empty() {
        return Ok(());
    }
    insert_payments(conn, &accepted).await?;
    debit(conn, accepted.iter().copied()).await?;
    if publishing == Publishing::ByRelay {
        let events = accepted
            .iter()
            .map(|(request, money)| requested_event(Uuid::now_v7(), request, *money))
            .collect::<Result<_, _>>()?;
        outbox::append(conn, events).await?;
    }
    Ok(())
}

/// Steps 5 and 6.
pub(crate) async fn debit<'a>(
    conn: &mut AsyncPgConnection,
    accepted: impl Iterator<Item = (&'a PayBill, Money)>,
) -> QueryResult<()> {
    let mut transfers = Vec::new();
    let mut changes: HashMap<Uuid, Decimal> = HashMap::new();
    for (request, money) in accepted {
        let (wallet_id, payment_id) = (request.wallet_id, request.payment_id);
        transfers.push(Transfer::of_payment(
            Kind::Payment,
            wallet_id,
            money,
            payment_id,
        ));
        *changes.entry(wallet_id).or_default() -= money.value();
    }
    ledger::post(conn, &transfers).await?;
    ledger::change_balances(conn, changes).await
}

/// The event that says that `request` was paid for, with the id `id`.
pub(crate) fn requested_event(
    id: Uuid,
    request: &PayBill,
    money: Money,
) -> Result<NewEvent, serde_json::Error> {
    let payload = BillPaymentRequested {
        payment_id: request.payment_id,
        wallet_id: request.wallet_id,
        money,
        provider: request.provider.as_str().to_owned(),
        account_number: request.account_number.as_str().to_owned(),
        idempotency_key: Some(request.key.as_str().to_owned()),
        redriven: false,
    };
    new_event(id, request.traceparent.clone(), &payload)
}

/// `payload` as an event with the id `id`.
pub(crate) fn new_event(
    id: Uuid,
    traceparent: String,
    payload: &BillPaymentRequested,
) -> Result<NewEvent, serde_json::Error> {
    Ok(NewEvent {
        id,
        aggregate_type: WALLET_AGGREGATE,
        aggregate_id: payload.wallet_id.to_string(),
        event_type: BillPaymentRequested::TYPE,
        source: SERVICE,
        traceparent,
        payload: serde_json::to_value(payload)?,
    })
}

/// Step 4.
async fn insert_payments(
    conn: &mut AsyncPgConnection,
    accepted: &[(&PayBill, Money)],
) -> QueryResult<()> {
    statement(
        "insert into payments (id, wallet_id, amount, currency, provider, account_number, \
         idempotency_key, fingerprint) select * from unnest($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .column::<SqlUuid, _, _>(accepted, |(request, _)| request.payment_id)
    .column::<SqlUuid, _, _>(accepted, |(request, _)| request.wallet_id)
    .column::<Numeric, _, _>(accepted, |(_, money)| money.value())
    .column::<Text, _, _>(accepted, |(_, money)| money.currency().code())
    .column::<Text, _, _>(accepted, |(request, _)| request.provider.as_str())
    .column::<Text, _, _>(accepted, |(request, _)| request.account_number.as_str())
    .column::<Text, _, _>(accepted, |(request, _)| request.key.as_str())
    .column::<Binary, _, _>(accepted, |(request, _)| *request.fingerprint().as_bytes())
    .execute(conn)
    .await?;
    Ok(())
}
