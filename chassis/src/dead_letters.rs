//! Dead letters of a consumer: made from the record that could not be taken, and what an operator does about
//! them, by HTTP or at the command line.
//!
//! Promises: a retry takes the message as its consumer would have, with its event id, so what has taken effect
//! before does so no second time; it commits with its audit row, all or nothing; what is refused again stays,
//! with the new reason. Nothing is discarded without a note.

pub mod cli;
mod http;

use diesel_async::{AsyncConnection as _, AsyncPgConnection};
use outbox::dead_letter::{self, DeadLetter, NewDeadLetter};
use outbox::operator_action::{self, Action, By};
use serde::Serialize;
use tracing::{info, warn};

use crate::consumer::Record;
use crate::database::{Failure, classify};
use crate::telemetry::chain;

pub use http::routes;

/// Dead letters that one request retries at the most.
pub const RETRIED_AT_ONCE_MAX: i64 = 100;

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
        headers: serde_json::json!(record.headers),
        payload: record.payload.clone(),
        reason,
    }
}

/// How a service takes one message of a dead letter.
pub trait Retake: Clone + Send + Sync + 'static {
    /// Takes `record` as `consumer` would have, in the transaction of `conn`, which is undone if it is refused.
    fn retake(
        &self,
        conn: &mut AsyncPgConnection,
        consumer: &str,
        record: &Record,
    ) -> impl Future<Output = Result<(), RetakeError>> + Send;
}

/// Why a message was not taken.
#[derive(Debug, thiserror::Error)]
pub enum RetakeError {
    /// It never will be, as it is; what is wrong with it, as a person would want to read it.
    #[error("{0}")]
    Refused(String),
    /// See [`classify`].
    #[error("taking the message")]
    Database(#[from] diesel::result::Error),
}

/// What came of a retry.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
    /// Somebody was quicker.
    #[error("dead letter {id} is {status} already")]
    Ended {
        /// Its id.
        id: i64,
        /// What became of it.
        status: String,
    },
    /// The database can't be reached or refuses.
    #[error("changing a dead letter")]
    Database(#[from] diesel::result::Error),
}

/// Has one taken again.
///
/// # Errors
/// [`ActionError`]; nothing was done then, and nothing is on record.
pub async fn retry(
    conn: &mut AsyncPgConnection,
    retake: &impl Retake,
    id: i64,
    by: By<'_>,
) -> Result<Retried, ActionError> {
    let retried = conn
        .transaction(async |conn| retry_in_transaction(conn, retake, id, by).await)
        .await?;
    let outcome = match retried {
        Retried::Taken => "taken",
        Retried::Refused { .. } => "refused",
    };
    metrics::counter!("dead_letters_retried_total", "outcome" => outcome).increment(1);
    info!(id, operator = by.operator, ?retried, "dead letter retried");
    Ok(retried)
}

async fn retry_in_transaction(
    conn: &mut AsyncPgConnection,
    retake: &impl Retake,
    id: i64,
    by: By<'_>,
) -> Result<Retried, ActionError> {
    let letter = lock_open(conn, id).await?;
    operator_action::record(conn, by, Action::Retry, &[subject(id)]).await?;
    let consumer = letter.consumer.clone();
    let record = record(letter);
    // A savepoint: of a message that is refused nothing stays but the reason.
    let taken = conn
        .transaction(async |conn| retake.retake(conn, &consumer, &record).await)
        .await;
    let reason = match taken {
        Ok(()) => {
            dead_letter::take(conn, id).await?;
            return Ok(Retried::Taken);
        }
        Err(RetakeError::Refused(reason)) => reason,
        Err(RetakeError::Database(error)) => match classify(&error) {
            Failure::Retry => return Err(error.into()),
            Failure::Reject => chain(&error),
        },
    };
    dead_letter::refuse_again(conn, id, &reason).await?;
    Ok(Retried::Refused { reason })
}

/// What came of a retry of many.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct RetriedMany {
    /// Those that were taken.
    pub taken: u64,
    /// Those that stay.
    pub refused: u64,
    /// Go on behind this one; none if all were tried.
    pub next_after: Option<i64>,
}

/// Has all open ones taken again whose reason begins with `reason`, oldest first, behind the one with the id
/// `after`; at most [`RETRIED_AT_ONCE_MAX`], each in a transaction of its own.
///
/// # Errors
/// [`ActionError`]; those before it are done, and on record.
pub async fn retry_many(
    conn: &mut AsyncPgConnection,
    retake: &impl Retake,
    reason: &str,
    after: i64,
    by: By<'_>,
) -> Result<RetriedMany, ActionError> {
    let mut many = RetriedMany::default();
    let ids = dead_letter::open_ids(conn, reason, after, RETRIED_AT_ONCE_MAX).await?;
    let full = i64::try_from(ids.len()).is_ok_and(|ids| ids >= RETRIED_AT_ONCE_MAX);
    many.next_after = ids.last().copied().filter(|_| full);
    for id in ids {
        match retry(conn, retake, id, by).await {
            Ok(Retried::Taken) => many.taken += 1,
            Ok(Retried::Refused { .. }) => many.refused += 1,
            // Somebody was quicker.
            Err(ActionError::Unknown(_) | ActionError::Ended { .. }) => {}
            Err(error @ ActionError::Database(_)) => return Err(error),
        }
    }
    Ok(many)
}

/// Gives one up; its row stays for its retention.
///
/// # Errors
/// [`ActionError`]; nothing was done then.
pub async fn discard(conn: &mut AsyncPgConnection, id: i64, by: By<'_>) -> Result<(), ActionError> {
    conn.transaction(async |conn| {
        lock_open(conn, id).await?;
        operator_action::record(conn, by, Action::Discard, &[subject(id)]).await?;
        dead_letter::discard(conn, id).await?;
        Ok::<(), ActionError>(())
    })
    .await?;
    info!(
        id,
        operator = by.operator,
        note = by.note,
        "dead letter discarded"
    );
    Ok(())
}

/// An open one, that nobody else changes until the transaction ends.
async fn lock_open(conn: &mut AsyncPgConnection, id: i64) -> Result<DeadLetter, ActionError> {
    let letter = dead_letter::lock(conn, id).await?;
    let letter = letter.ok_or(ActionError::Unknown(id))?;
    if letter.status == dead_letter::Status::Open.as_str() {
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
        key: letter.key,
        // Written by dead_letter() above, and read back as it was.
        headers: serde_json::from_value(letter.headers).unwrap_or_default(),
        payload: letter.payload,
    }
}
