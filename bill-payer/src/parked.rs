//! Parked bills: the provider could not be asked, so an operator decides when it can be.
//!
//! Promises: a retry puts the bill back to paying or to cancelling under its old key, and nothing else: the
//! provider's word decides, as before. No command marks a bill as paid or refunded: that would be a guess. A final
//! result that an executor gets meanwhile ends the bill; it is not parked then.

use chassis::Problem;
use chassis::problem::StatusCode;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text, Uuid as SqlUuid};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl};
use operations::operator_action::{self, Action, Operator};
use outbox::statement;
use serde::Serialize;
use tracing::info;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::{Call, Status};
use crate::schema::bills;

/// Bills that one request retries, at most.
pub const RETRIED_AT_ONCE_MAX: i64 = 500;

/// Why nothing was done, and nothing is on record.
#[derive(Debug, thiserror::Error)]
pub enum RetryError {
    #[error("there is no bill {0}")]
    Unknown(Uuid),
    #[error("bill {payment_id} is {status}, not parked")]
    NotParked { payment_id: Uuid, status: String },
    #[error("changing a parked bill")]
    Database(#[from] diesel::result::Error),
}

/// Has `call` made for one parked bill. Either call is safe: the provider takes the money once for a key, and not at all
/// for a key that it was told to refuse.
pub async fn retry(
    conn: &mut AsyncPgConnection,
    payment_id: Uuid,
    call: Call,
    by: Operator<'_>,
) -> Result<(), RetryError> {
    conn.transaction(async |conn| {
        let status: Option<String> = bills::table
            .find(payment_id)
            .select(bills::status)
            .for_no_key_update()
            .first(conn)
            .await
            .optional()?;
        match status {
            None => return Err(RetryError::Unknown(payment_id)),
            Some(status) if status != Status::Parked.into_str() => {
                return Err(RetryError::NotParked { payment_id, status });
            }
            Some(_) => {}
        }
        unpark(conn, vec![payment_id], call).await?;
        operator_action::record(conn, by, Action::Retry, &[subject(payment_id)]).await?;
        Ok(())
    })
    .await?;
    info!(%payment_id, operator = by.name, ?call, "parked bill retried");
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct RetrySummary {
    /// Bills for which the provider is asked again.
    pub retried: usize,
    /// Whether there may be more of them, for another retry.
    pub more: bool,
}

/// Has `call` made for all parked bills whose last error begins with `reason`, at most
/// [`RETRIED_AT_ONCE_MAX`].
pub async fn retry_many(
    conn: &mut AsyncPgConnection,
    reason: &str,
    call: Call,
    by: Operator<'_>,
) -> QueryResult<RetrySummary> {
    let retried = conn
        .transaction(async |conn| {
            let payments = lock_of_reason(conn, reason).await?;
            let subjects: Vec<String> = payments.iter().copied().map(subject).collect();
            unpark(conn, payments, call).await?;
            operator_action::record(conn, by, Action::Retry, &subjects).await?;
            QueryResult::Ok(subjects.len())
        })
        .await?;
    info!(
        retried,
        operator = by.name,
        ?call,
        reason,
        "parked bills retried"
    );
    let more = i64::try_from(retried).is_ok_and(|retried| retried >= RETRIED_AT_ONCE_MAX);
    Ok(RetrySummary { retried, more })
}

/// Locks parked bills whose last error begins with `reason`.
async fn lock_of_reason(conn: &mut AsyncPgConnection, reason: &str) -> QueryResult<Vec<Uuid>> {
    #[derive(QueryableByName)]
    #[diesel(table_name = bills)]
    struct Parked {
        payment_id: Uuid,
    }
    let parked: Vec<Parked> = statement(
        "select payment_id from bills where status = 'parked' and starts_with(last_error, $1) \
         order by payment_id limit $2 for no key update",
    )
    .bind::<Text, _>(reason)
    .bind::<BigInt, _>(RETRIED_AT_ONCE_MAX)
    .load(conn)
    .await?;
    Ok(parked.into_iter().map(|row| row.payment_id).collect())
}

/// Puts bills back, due now, with all their attempts. A late result of an earlier call counts if it is final.
async fn unpark(
    conn: &mut AsyncPgConnection,
    payments: Vec<Uuid>,
    call: Call,
) -> QueryResult<usize> {
    statement(
        "update bills set status = $1, attempts = 0, failing_since = null, \
         next_attempt_at = now(), updated_at = now() \
         where payment_id = any($2) and status = 'parked'",
    )
    .bind::<Text, _>(call.status().into_str())
    .bind::<diesel::sql_types::Array<SqlUuid>, _>(payments)
    .execute(conn)
    .await
}

fn subject(payment_id: Uuid) -> String {
    format!("bill/{payment_id}")
}

impl From<RetryError> for Problem {
    fn from(error: RetryError) -> Self {
        match error {
            RetryError::Unknown(payment_id) => Self::not_found("bill", payment_id),
            RetryError::NotParked { .. } => Self::new(
                StatusCode::CONFLICT,
                "bill-not-parked",
                "The bill is not parked",
                error.to_string(),
            ),
            RetryError::Database(error) => error.into(),
        }
    }
}
