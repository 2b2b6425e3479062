//! Dead letters of a consumer: made from the record that could not be taken, and what an operator does about
//! them, by HTTP or at the command line.
//!
//! Promises: a retry takes the message as its consumer would have, with its event id, so an effect does not happen
//! twice; it commits together with its audit row; a message that is refused again stays, with the new reason. Nothing is discarded without a note.

pub mod cli;
mod http;

use crate::dead_letter::{self, DeadLetter, Filter, NewDeadLetter};
use crate::operator_action::{self, Action, Operator};
use diesel_async::{AsyncConnection as _, AsyncPgConnection};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tracing::{info, warn};
use utoipa::ToSchema;

use chassis::consumer::{HandleError, Record, headers_from_json, headers_to_json};
use chassis::database::{Failure, Pool, classify};
use chassis::telemetry::chain;

pub use http::{Document, routes};

/// One request retries at most so many dead letters.
pub const RETRIED_AT_ONCE_MAX: i64 = 100;

/// One request discards at most so many dead letters.
pub const DISCARDED_AT_ONCE_MAX: i64 = 500;

/// A dead letter of `record`, to be stored in the transaction that goes on without it.
#[must_use]
pub fn dead_letter(consumer: &'static str, record: &Record, reason: String) -> NewDeadLetter {
    warn!(%record, reason, "dead letter");
    NewDeadLetter {
        consumer,
        topic: record.topic.clone(),
        kafka_partition: record.partition,
        kafka_offset: record.offset,
        key: record.key.clone(),
        headers: headers_to_json(&record.headers),
        payload: record.payload.clone(),
        reason,
        digest: digest(record).to_vec(),
    }
}

/// SHA-256 of what `record` says and of its time: a redelivery has the same, and a message that another topic of the same
/// name had in its place has another.
fn digest(record: &Record) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut add = |bytes: Option<&[u8]>| {
        let bytes = bytes.map_or((u64::MAX, &[][..]), |bytes| {
            (u64::try_from(bytes.len()).unwrap_or(u64::MAX), bytes)
        });
        hash.update(bytes.0.to_be_bytes());
        hash.update(bytes.1);
    };
    add(record.key.as_deref());
    add(record.payload.as_deref());
    for (name, value) in &record.headers {
        add(Some(name.as_bytes()));
        add(value.as_deref());
    }
    hash.update(record.timestamp_ms.unwrap_or_default().to_be_bytes());
    hash.finalize().into()
}

/// Stores `record` as a dead letter of `consumer`, in a transaction of its own: what a handler does with a record that it
/// can't take.
///
/// # Errors
/// The database fails; nothing is stored.
pub async fn store(
    pool: &Pool,
    consumer: &'static str,
    record: &Record,
    reason: &str,
) -> Result<(), HandleError> {
    let letter = dead_letter(consumer, record, reason.to_owned());
    let mut conn = pool.get().await?;
    dead_letter::record(&mut conn, &[letter]).await?;
    Ok(())
}

/// How a service takes one message of a dead letter.
pub trait Redeliver: Clone + Send + Sync + 'static {
    /// Takes `record` as `consumer` would have, in the transaction of `conn`, which is undone if it is refused.
    fn redeliver(
        &self,
        conn: &mut AsyncPgConnection,
        consumer: &str,
        record: &Record,
    ) -> impl Future<Output = Result<(), RedeliverError>> + Send;
}

/// Why a message was not taken.
#[derive(Debug, thiserror::Error)]
pub enum RedeliverError {
    /// It never will be, as it is; what is wrong with it, as a person would want to read it.
    #[error("{0}")]
    Refused(String),
    /// See [`classify`].
    #[error("taking the message")]
    Database(#[from] diesel::result::Error),
}

/// The result of [`retry`].
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Retried {
    /// It has taken effect, now or before.
    Taken,
    /// It stays.
    Refused {
        /// What is wrong with it.
        reason: String,
    },
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    /// No such dead letter.
    #[error("there is no dead letter {0}")]
    Unknown(i64),
    /// Another operator was faster.
    #[error("dead letter {id} is {status} already")]
    Ended { id: i64, status: String },
    /// The database can't be reached or refuses.
    #[error("changing a dead letter")]
    Database(#[from] diesel::result::Error),
}

/// Delivers one again.
///
/// # Errors
/// [`ActionError`]; nothing was done then, and nothing is on record.
pub async fn retry(
    conn: &mut AsyncPgConnection,
    redeliver: &impl Redeliver,
    id: i64,
    by: Operator<'_>,
) -> Result<Retried, ActionError> {
    let retried = conn
        .transaction(async |conn| retry_in_transaction(conn, redeliver, id, by).await)
        .await?;
    let outcome = match retried {
        Retried::Taken => "taken",
        Retried::Refused { .. } => "refused",
    };
    metrics::counter!("dead_letters_retried_total", "outcome" => outcome).increment(1);
    info!(id, operator = by.name, ?retried, "dead letter retried");
    Ok(retried)
}

async fn retry_in_transaction(
    conn: &mut AsyncPgConnection,
    redeliver: &impl Redeliver,
    id: i64,
    by: Operator<'_>,
) -> Result<Retried, ActionError> {
    let letter = lock_open(conn, id).await?;
    operator_action::record(conn, by, Action::Retry, &[subject(id)]).await?;
    let consumer = letter.consumer.clone();
    let record = record(letter);
    // A savepoint: of a message that is refused nothing stays but the reason.
    let taken = conn
        .transaction(async |conn| redeliver.redeliver(conn, &consumer, &record).await)
        .await;
    let reason = match taken {
        Ok(()) => {
            dead_letter::take(conn, id).await?;
            return Ok(Retried::Taken);
        }
        Err(RedeliverError::Refused(reason)) => reason,
        Err(RedeliverError::Database(error)) => match classify(&error) {
            Failure::Retry => return Err(error.into()),
            Failure::Unknown | Failure::Reject => chain(&error),
        },
    };
    dead_letter::refuse_again(conn, id, &reason).await?;
    Ok(Retried::Refused { reason })
}

/// The result of [`retry_many`].
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RetriedMany {
    pub taken: u64,
    pub refused: u64,
    /// Continue after this one; none if all were tried.
    pub next_after: Option<i64>,
}

/// Delivers all open ones again that `filter` matches, oldest first, after the one with the id `after`; at most
/// [`RETRIED_AT_ONCE_MAX`], each in a transaction of its own.
///
/// # Errors
/// [`ActionError`]; those before it are done, and on record.
pub async fn retry_many(
    conn: &mut AsyncPgConnection,
    redeliver: &impl Redeliver,
    filter: Filter<'_>,
    after: i64,
    by: Operator<'_>,
) -> Result<RetriedMany, ActionError> {
    let mut many = RetriedMany::default();
    let ids = dead_letter::open_ids(conn, filter, after, RETRIED_AT_ONCE_MAX).await?;
    many.next_after = next_after(&ids, RETRIED_AT_ONCE_MAX);
    for id in ids {
        match retry(conn, redeliver, id, by).await {
            Ok(Retried::Taken) => many.taken += 1,
            Ok(Retried::Refused { .. }) => many.refused += 1,
            // Another operator was faster.
            Err(ActionError::Unknown(_) | ActionError::Ended { .. }) => {}
            Err(error @ ActionError::Database(_)) => return Err(error),
        }
    }
    Ok(many)
}

/// Discards one; its row stays for its retention.
///
/// # Errors
/// [`ActionError`]; nothing was done then.
pub async fn discard(
    conn: &mut AsyncPgConnection,
    id: i64,
    by: Operator<'_>,
) -> Result<(), ActionError> {
    conn.transaction(async |conn| {
        lock_open(conn, id).await?;
        operator_action::record(conn, by, Action::Discard, &[subject(id)]).await?;
        dead_letter::discard(conn, id).await?;
        Ok::<(), ActionError>(())
    })
    .await?;
    info!(
        id,
        operator = by.name,
        note = by.note,
        "dead letter discarded"
    );
    Ok(())
}

/// The result of [`discard_many`].
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DiscardedMany {
    pub discarded: u64,
    /// Continue after this one; none if all were met.
    pub next_after: Option<i64>,
}

/// Discards all open ones that `filter` matches, oldest first, after the one with the id `after`; at most
/// [`DISCARDED_AT_ONCE_MAX`], each with a row of its own that says who did it and why.
///
/// # Errors
/// [`ActionError`]; those before it are done, and on record.
pub async fn discard_many(
    conn: &mut AsyncPgConnection,
    filter: Filter<'_>,
    after: i64,
    by: Operator<'_>,
) -> Result<DiscardedMany, ActionError> {
    let mut many = DiscardedMany::default();
    let ids = dead_letter::open_ids(conn, filter, after, DISCARDED_AT_ONCE_MAX).await?;
    many.next_after = next_after(&ids, DISCARDED_AT_ONCE_MAX);
    for id in ids {
        match discard(conn, id, by).await {
            Ok(()) => many.discarded += 1,
            // Another operator was faster.
            Err(ActionError::Unknown(_) | ActionError::Ended { .. }) => {}
            Err(error @ ActionError::Database(_)) => return Err(error),
        }
    }
    Ok(many)
}

/// Where to continue: a page that is not full was the last one.
fn next_after(ids: &[i64], ids_max: i64) -> Option<i64> {
    let full = i64::try_from(ids.len()).is_ok_and(|ids| ids >= ids_max);
    ids.last().copied().filter(|_| full)
}

/// An open one, that nobody else changes until the transaction ends.
async fn lock_open(conn: &mut AsyncPgConnection, id: i64) -> Result<DeadLetter, ActionError> {
    let letter = dead_letter::lock(conn, id).await?;
    let letter = letter.ok_or(ActionError::Unknown(id))?;
    if letter.status == dead_letter::Status::Open.into_str() {
        Ok(letter)
    } else {
        let status = letter.status;
        Err(ActionError::Ended { id, status })
    }
}

fn subject(id: i64) -> String {
    format!("dead_letter/{id}")
}

/// The message as it was read.
fn record(letter: DeadLetter) -> Record {
    Record {
        topic: letter.topic,
        partition: letter.kafka_partition,
        offset: letter.kafka_offset,
        timestamp_ms: None,
        key: letter.key,
        headers: headers_from_json(&letter.headers),
        payload: letter.payload,
    }
}
