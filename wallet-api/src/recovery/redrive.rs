//! Publishes the event of a pending payment again.
//!
//! | step | statement | lock | why here |
//! | --- | --- | --- | --- |
//! | 1 | `select payments` by id | none | tells whose wallets they are |
//! | 2 | `select wallets ... order by id for no key update` | the wallets' rows, in id order | as payments take them: from here on a wallet's order of `seq` is its order of commits |
//! | 3 | `select payments` by id | none | which of them are pending; one that ends now is not paid again: its bill is known |
//! | 4 | `insert operator_actions` | their rows | who did it |
//! | 5 | `insert outbox` | their rows | last, after all locks: see step 2 |
//! | 6 | `commit` | releases all | |
//!
//! The event has an id of its own, so that no inbox takes it for a redelivery, and says that it was redriven, so that
//! a bill that has ended says its result again.

use std::time::Duration;

use axum::http::StatusCode;
use chassis::{Problem, TraceContext};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Uuid as SqlUuid};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl};
use events::BillPaymentRequested;
use operations::operator_action::{self, Action, Operator};
use outbox::statement;
use serde::Serialize;
use tracing::info;
use utoipa::ToSchema;
use uuid::Uuid;

use super::subject;
use crate::pay_error::BatchError;
use crate::payments::{lock_wallets, new_event};
use crate::schema::{self, PaymentRow};

/// Payments that one transaction redrives, at most.
const REDRIVEN_AT_ONCE_MAX: usize = 500;

/// Payments that one transaction looks at, at most: no index says which are pending.
const LOOKED_AT_ONCE_MAX: i64 = 20_000;

#[derive(Debug, thiserror::Error)]
pub(crate) enum RedriveError {
    #[error("there is no payment {0}")]
    Unknown(Uuid),
    #[error("payment {payment_id} is {status}, not pending: nothing is to be done about it")]
    Ended { payment_id: Uuid, status: String },
    #[error("redriving a payment")]
    Database(#[from] diesel::result::Error),
    #[error("redriving a payment")]
    Append(#[from] BatchError),
}

pub(crate) async fn redrive(
    conn: &mut AsyncPgConnection,
    payment_id: Uuid,
    by: Operator<'_>,
) -> Result<(), RedriveError> {
    conn.transaction(async |conn| {
        let payment = lock_and_find(conn, &[payment_id]).await?.pop();
        let payment = payment.ok_or(RedriveError::Unknown(payment_id))?;
        if payment.status != "pending" {
            let status = payment.status;
            return Err(RedriveError::Ended { payment_id, status });
        }
        publish_again(conn, vec![payment], by).await
    })
    .await?;
    info!(%payment_id, operator = by.name, "payment redriven");
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct RedrivenMany {
    pub(crate) redriven: usize,
    /// The next call begins after this payment; none if all were looked at.
    pub(crate) next_after: Option<Uuid>,
}

/// Redrives payments that have been pending for longer than `pending_for` and come after the id `after`; at most
/// [`REDRIVEN_AT_ONCE_MAX`].
pub(crate) async fn redrive_many(
    conn: &mut AsyncPgConnection,
    pending_for: Duration,
    after: Uuid,
    by: Operator<'_>,
) -> Result<RedrivenMany, RedriveError> {
    let many = conn
        .transaction(async |conn| {
            let (ids, next_after) = pending(conn, pending_for, after).await?;
            let mut payments = lock_and_find(conn, &ids).await?;
            payments.retain(|payment| payment.status == "pending");
            let redriven = payments.len();
            publish_again(conn, payments, by).await?;
            Ok::<_, RedriveError>(RedrivenMany {
                redriven,
                next_after,
            })
        })
        .await?;
    if many.redriven > 0 {
        let redriven = many.redriven;
        info!(
            redriven,
            operator = by.name,
            ?pending_for,
            "payments redriven"
        );
    }
    Ok(many)
}

/// Pending payments of the next part of the table, in id order, and the id that the part after it begins after.
async fn pending(
    conn: &mut AsyncPgConnection,
    pending_for: Duration,
    after: Uuid,
) -> QueryResult<(Vec<Uuid>, Option<Uuid>)> {
    #[derive(QueryableByName)]
    struct Found {
        #[diesel(sql_type = Nullable<SqlUuid>)]
        id: Option<Uuid>,
        #[diesel(sql_type = Nullable<SqlUuid>)]
        end_of_part: Option<Uuid>,
    }
    let found: Vec<Found> = statement(
        "with part as materialized ( \
             select id, status, created_at from payments where id > $1 order by id limit $2), \
         last as (select id from part order by id desc limit 1), \
         due as ( \
             select id from part where status = 'pending' \
             and created_at <= now() - $3 * interval '1 second' order by id limit $4) \
         select due.id, case when (select count(*) from part) = $5 then last.id end as end_of_part \
         from last left join due on true order by due.id",
    )
    .bind::<SqlUuid, _>(after)
    .bind::<BigInt, _>(LOOKED_AT_ONCE_MAX)
    .bind::<BigInt, _>(i64::try_from(pending_for.as_secs()).unwrap_or(i64::MAX))
    .bind::<BigInt, _>(i64::try_from(REDRIVEN_AT_ONCE_MAX).unwrap_or(i64::MAX))
    .bind::<BigInt, _>(LOOKED_AT_ONCE_MAX)
    .load(conn)
    .await?;
    let end_of_part = found.as_slice().first().and_then(|row| row.end_of_part);
    let ids: Vec<Uuid> = found.into_iter().filter_map(|row| row.id).collect();
    let full = ids.len() >= REDRIVEN_AT_ONCE_MAX;
    let next_after = if full {
        ids.last().copied()
    } else {
        end_of_part
    };
    Ok((ids, next_after))
}

/// Steps 1 to 3.
async fn lock_and_find(
    conn: &mut AsyncPgConnection,
    ids: &[Uuid],
) -> Result<Vec<PaymentRow>, RedriveError> {
    use schema::payments::dsl;
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let wallets: Vec<Uuid> = dsl::payments
        .filter(dsl::id.eq_any(ids))
        .select(dsl::wallet_id)
        .load(conn)
        .await?;
    lock_wallets(conn, wallets.into_iter()).await?;
    let payments = dsl::payments
        .filter(dsl::id.eq_any(ids))
        .order(dsl::id)
        .select(PaymentRow::as_select())
        .load(conn)
        .await?;
    Ok(payments)
}

/// Steps 4 and 5.
async fn publish_again(
    conn: &mut AsyncPgConnection,
    payments: Vec<PaymentRow>,
    by: Operator<'_>,
) -> Result<(), RedriveError> {
    let subjects: Vec<String> = payments.iter().map(|payment| subject(payment.id)).collect();
    let events = payments.into_iter().map(|payment| {
        let money = payment.money();
        let payload = BillPaymentRequested {
            payment_id: payment.id,
            wallet_id: payment.wallet_id,
            money: money.ok_or(BatchError::Currency(payment.wallet_id))?,
            provider: payment.provider,
            account_number: payment.account_number,
            idempotency_key: payment.idempotency_key,
            redriven: true,
        };
        // The database does not store the payment's own trace.
        Ok(new_event(Uuid::now_v7(), &TraceContext::start(), &payload)?)
    });
    let events = events.collect::<Result<Vec<_>, BatchError>>()?;
    operator_action::record(conn, by, Action::Redrive, &subjects).await?;
    outbox::append(conn, events)
        .await
        .map_err(BatchError::from)?;
    Ok(())
}

impl From<RedriveError> for Problem {
    fn from(error: RedriveError) -> Self {
        match error {
            RedriveError::Unknown(id) => Self::not_found("payment", id),
            RedriveError::Ended { .. } => Self::new(
                StatusCode::CONFLICT,
                "payment-ended",
                "The payment has ended",
                error.to_string(),
            ),
            RedriveError::Database(error) | RedriveError::Append(BatchError::Database(error)) => {
                error.into()
            }
            RedriveError::Append(error) => Self::internal(&error),
        }
    }
}
