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
//! | 7 | `insert outbox` | their rows | last, after all locks: see step 1 |
//! | 8 | `commit` | releases all | one flush of the log for the whole batch |
//!
//! Nothing here waits for anything but the database. Steps 1 and 2 are sent together, and so are steps 4 to 6
//! ([`try_join`]): the database carries out what one connection sends in the order in which it was sent. `try_join` asks its
//! futures in the order of its arguments, and diesel-async lets no statement pass one that is still being prepared.

use std::collections::HashMap;

use chassis::TraceContext;
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Binary, Nullable, Numeric, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl};
use events::{BillPaymentRequested, Money, WALLET_AGGREGATE};
use futures_util::future::try_join;
use outbox::{NewEvent, statement};
use rust_decimal::Decimal;
use uuid::Uuid;

use crate::domain::{
    self, Accepted, Decision, Decline, KnownPayment, KnownPayments, Replayed, Wallet,
};
use crate::ledger::{self, Kind, Transfer};
use crate::pattern::Pattern;
use crate::pay_error::BatchError;
use crate::request::{KeySource, PaymentRequest};
use crate::schema::PaymentRow;
use crate::{SERVICE, schema};

/// Whether the batch has been tried before, and may have been committed unnoticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Try {
    First,
    Again,
}

/// Decides and writes a batch in a transaction; returns the answer to each request, in order.
///
/// Only the pattern `outbox` takes step 7. In the others the caller publishes the events.
pub(crate) async fn write_batch(
    conn: &mut AsyncPgConnection,
    batch: &[PaymentRequest],
    attempt: Try,
    pattern: Pattern,
) -> Result<Vec<Result<Accepted, Decline>>, BatchError> {
    conn.transaction(async |conn| pay_batch(conn, batch, attempt, pattern).await)
        .await
}

/// Steps 1 to 7, in the caller's transaction.
pub(crate) async fn pay_batch(
    conn: &mut AsyncPgConnection,
    batch: &[PaymentRequest],
    attempt: Try,
    pattern: Pattern,
) -> Result<Vec<Result<Accepted, Decline>>, BatchError> {
    let decisions = decide_batch(conn, batch, attempt).await?;
    // 4 to 7: rows for the payments that were accepted.
    write_accepted(conn, batch, &decisions, pattern).await?;
    let answers = decisions.into_iter().map(Decision::into_answer);
    Ok(answers.collect())
}

/// Steps 1 to 3: a decision for each request.
pub(crate) async fn decide_batch(
    conn: &mut AsyncPgConnection,
    batch: &[PaymentRequest],
    attempt: Try,
) -> Result<Vec<Decision>, BatchError> {
    // What is known, and stays so until the commit. Sent together, carried out in this order.
    let ids = batch.iter().map(|request| request.wallet_id);
    let ((mut wallets, now), mut known) =
        try_join(lock_wallets(conn, ids), find_by_key(conn, batch, attempt)).await?;
    Ok(domain::decide(batch, &mut wallets, &mut known, now))
}

/// Step 1.
pub(crate) async fn lock_wallets(
    mut conn: &AsyncPgConnection,
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
        .load(&mut conn)
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

/// Step 2. A key that was made for this request needs no look, unless the request was tried before.
pub(crate) async fn find_by_key(
    mut conn: &AsyncPgConnection,
    batch: &[PaymentRequest],
    attempt: Try,
) -> Result<KnownPayments, BatchError> {
    let asked: Vec<&PaymentRequest> = batch
        .iter()
        .filter(|request| attempt == Try::Again || request.key_source == KeySource::Client)
        .collect();
    if asked.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<PaymentRow> = statement(
        "select id, wallet_id, amount, currency, provider, account_number, status, idempotency_key, \
         fingerprint, receipt, reason, created_at, updated_at \
         from payments where (wallet_id, idempotency_key) in (select * from unnest($1, $2))",
    )
    .column::<SqlUuid, _, _>(&asked, |request| request.wallet_id)
    .column::<Text, _, _>(&asked, |request| request.key.as_str())
    .load(&mut conn)
    .await?;
    let known = rows.into_iter().map(|row| {
        let accepted = Accepted {
            payment_id: row.id,
            money: row.money().ok_or(BatchError::Currency(row.wallet_id))?,
            created_at: row.created_at,
            replayed: Replayed::Yes,
        };
        let key = row.idempotency_key.unwrap_or_default().parse();
        let key = key.expect("a stored key was valid when it was stored");
        let payment = KnownPayment {
            fingerprint: row.fingerprint,
            accepted,
        };
        Ok(((row.wallet_id, key), payment))
    });
    known.collect()
}

/// Steps 4 to 7, for the requests that were accepted.
async fn write_accepted(
    conn: &mut AsyncPgConnection,
    batch: &[PaymentRequest],
    decisions: &[Decision],
    pattern: Pattern,
) -> Result<(), BatchError> {
    let accepted: Vec<(&PaymentRequest, Money)> = batch
        .iter()
        .zip(decisions)
        .filter_map(|(request, decision)| match decision {
            Decision::Accept(accepted) => Some((request, accepted.money)),
            Decision::Replay(_) | Decision::Decline(_) => None,
        })
        .collect();
    if accepted.is_empty() {
        return Ok(());
    }
    // Sent together, carried out in this order.
    try_join(
        insert_payments(conn, &accepted, pattern),
        debit(conn, accepted.iter().copied()),
    )
    .await?;
    if pattern == Pattern::Outbox {
        let events = accepted
            .iter()
            .map(|(request, money)| requested_event(Uuid::now_v7(), request, *money))
            .collect::<Result<_, _>>()?;
        outbox::append(conn, events).await?;
    }
    Ok(())
}

/// Step 4.
async fn insert_payments(
    mut conn: &AsyncPgConnection,
    accepted: &[(&PaymentRequest, Money)],
    pattern: Pattern,
) -> QueryResult<()> {
    // Null stands for the outbox: the hot path stores nothing for it.
    let pattern = (pattern != Pattern::Outbox).then_some(pattern.name());
    statement(
        "insert into payments (id, wallet_id, amount, currency, provider, account_number, \
         idempotency_key, fingerprint, pattern) \
         select * from unnest($1, $2, $3, $4, $5, $6, $7, $8), (select $9) as written",
    )
    .column::<SqlUuid, _, _>(accepted, |(request, _)| request.payment_id)
    .column::<SqlUuid, _, _>(accepted, |(request, _)| request.wallet_id)
    .column::<Numeric, _, _>(accepted, |(_, money)| money.value())
    .column::<Text, _, _>(accepted, |(_, money)| money.currency().code())
    .column::<Text, _, _>(accepted, |(request, _)| request.provider.as_str())
    .column::<Text, _, _>(accepted, |(request, _)| request.account_number.as_str())
    .column::<Text, _, _>(accepted, |(request, _)| request.key.as_str())
    .column::<Binary, _, _>(accepted, |(request, _)| *request.fingerprint().as_bytes())
    .bind::<Nullable<Text>, _>(pattern)
    .execute(&mut conn)
    .await?;
    Ok(())
}

/// Steps 5 and 6.
pub(crate) async fn debit<'a>(
    conn: &AsyncPgConnection,
    accepted: impl Iterator<Item = (&'a PaymentRequest, Money)>,
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
    let posted = ledger::post(conn, &transfers);
    let changed = ledger::change_balances(conn, changes);
    try_join(posted, changed).await?;
    Ok(())
}

/// The event that a payment was made, with the id `id`.
pub(crate) fn requested_event(
    id: Uuid,
    request: &PaymentRequest,
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
    new_event(id, &request.trace, &payload)
}

pub(crate) fn new_event(
    id: Uuid,
    trace: &TraceContext,
    payload: &BillPaymentRequested,
) -> Result<NewEvent, serde_json::Error> {
    Ok(NewEvent {
        id,
        aggregate_type: WALLET_AGGREGATE,
        aggregate_id: payload.wallet_id.to_string(),
        event_type: BillPaymentRequested::TYPE,
        source: SERVICE,
        traceparent: trace.traceparent(),
        tracestate: trace.tracestate(),
        payload: serde_json::to_value(payload)?,
    })
}
