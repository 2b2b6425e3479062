//! Handing records over until they are taken or are dead letters.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::handler::{HandleError, Handler};
use super::health::ConsumerHealth;
use super::record::{ReadRecord, Record};
use crate::{Backoff, telemetry};

/// The header of an event's type.
const TYPE_HEADER: &str = "ce_type";

/// Tries of a batch that fails in an unknown way, about half a minute. Too low: an outage that PostgreSQL reports in an
/// unusual way makes dead letters. Too high: one record holds its partition.
pub(super) const UNKNOWN_TRIES_MAX: u32 = 12;

/// How handing over records ends.
#[must_use]
pub(crate) enum Taking {
    Taken,
    Stopped,
}

/// Hands over what was read, without ignored and unreadable records, until it is taken or `stop` comes.
pub(crate) async fn hand_over<H: Handler>(
    handler: &mut H,
    attempts: Attempts<'_>,
    ignored_types: &[String],
    read: Vec<ReadRecord>,
) -> Taking {
    let mut batch = Vec::with_capacity(read.len());
    let mut defective = Vec::new();
    for ReadRecord { record, defect } in read {
        match defect {
            Some(reason) => defective.push((record, reason)),
            None if is_ignored(&record, ignored_types) => {
                metrics::counter!("kafka_consumer_ignored_total", "topic" => record.topic)
                    .increment(1);
            }
            None => batch.push(record),
        }
    }
    for (record, reason) in defective {
        match reject(handler, attempts, &record, &reason).await {
            Taking::Taken => {}
            Taking::Stopped => return Taking::Stopped,
        }
    }
    if batch.is_empty() {
        return Taking::Taken;
    }
    take(handler, attempts, &batch).await
}

fn is_ignored(record: &Record, ignored_types: &[String]) -> bool {
    !ignored_types.is_empty()
        && record
            .header(TYPE_HEADER)
            .is_some_and(|found| ignored_types.iter().any(|ignored| ignored == found))
}

/// Hands `batch` over until it is taken or `stop` comes.
pub(super) async fn take<H: Handler>(
    handler: &mut H,
    attempts: Attempts<'_>,
    batch: &[Record],
) -> Taking {
    let mut retries = Retries::new(attempts);
    let mut unknown = 0;
    loop {
        // A panic is a defect of this program, and it would come again with the record after each start.
        let handled = AssertUnwindSafe(handler.handle(batch)).catch_unwind().await;
        let error = match handled {
            Ok(Ok(())) => return retries.succeed(),
            Ok(Err(HandleError::Reject(error))) => error,
            Ok(Err(HandleError::Unknown(error))) if unknown + 1 >= UNKNOWN_TRIES_MAX => error,
            Ok(Err(HandleError::Unknown(error))) => {
                unknown += 1;
                match retries.wait(&*error).await {
                    Waited::Again => continue,
                    Waited::Stopped => return Taking::Stopped,
                }
            }
            Ok(Err(HandleError::Retry(error))) => {
                // An outage: it does not count what else it made fail.
                unknown = 0;
                match retries.wait(&*error).await {
                    Waited::Again => continue,
                    Waited::Stopped => return Taking::Stopped,
                }
            }
            Err(panic) => {
                format!("the handler panicked: {}", telemetry::panic_text(&*panic)).into()
            }
        };
        let reason = telemetry::chain(&*error);
        if let [record] = batch {
            return reject(handler, attempts, record, &reason).await;
        }
        info!(records = batch.len(), "taking a batch one by one: {reason}");
        for record in batch {
            match Box::pin(take(handler, attempts, std::slice::from_ref(record))).await {
                Taking::Taken => {}
                Taking::Stopped => return Taking::Stopped,
            }
        }
        return Taking::Taken;
    }
}

/// Has `record` stored as a dead letter, however long that takes, or until `stop` comes.
async fn reject<H: Handler>(
    handler: &mut H,
    attempts: Attempts<'_>,
    record: &Record,
    reason: &str,
) -> Taking {
    let mut retries = Retries::new(attempts);
    loop {
        let error = match handler.reject(record, reason).await {
            Ok(()) => return retries.succeed(),
            Err(
                HandleError::Retry(error)
                | HandleError::Unknown(error)
                | HandleError::Reject(error),
            ) => error,
        };
        match retries.wait(&*error).await {
            Waited::Again => {}
            Waited::Stopped => return Taking::Stopped,
        }
    }
}

/// What every step of taking records needs to be tried again.
#[derive(Clone, Copy)]
pub(crate) struct Attempts<'a> {
    pub(crate) health: &'a ConsumerHealth,
    pub(crate) stop: &'a CancellationToken,
    pub(crate) retry: Backoff,
}

/// The tries of one step.
struct Retries<'a> {
    attempts: Attempts<'a>,
    failures: u32,
}

#[must_use]
enum Waited {
    Again,
    Stopped,
}

impl<'a> Retries<'a> {
    const fn new(attempts: Attempts<'a>) -> Self {
        Self {
            attempts,
            failures: 0,
        }
    }

    fn succeed(self) -> Taking {
        self.attempts.health.takes();
        Taking::Taken
    }

    async fn wait(&mut self, error: &(dyn std::error::Error + Send + Sync)) -> Waited {
        self.failures += 1;
        self.attempts.health.fails(&telemetry::chain(error));
        let wait = tokio::time::sleep(self.attempts.retry.wait(self.failures));
        match self.attempts.stop.run_until_cancelled(wait).await {
            Some(()) => Waited::Again,
            None => Waited::Stopped,
        }
    }
}
