//! Group commit: payments that arrive together are written together.
//!
//! Requests wait in a bounded queue; each writer takes all that wait, up to a limit, and writes them in
//! one transaction ([`crate::payments`]). When quiet a batch is one request; under load hundreds share
//! one flush of the log. A writer belongs to no request, so a client that hangs up cannot drop a
//! transaction half-way.

use std::sync::Arc;
use std::time::Duration;

use chassis::database::{Failure, Pool};
use chassis::telemetry::chain;
use chassis::{Backoff, RepeatedError, spans};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Mutex, mpsc, oneshot};
use tracing::{error, info};

use crate::config::WriterConfig;
use crate::domain::{Accepted, Decline};
use crate::pattern::{Pattern, count_request};
use crate::pay_error::{BatchError, PayError};
use crate::payments::{Try, write_batch};
use crate::request::PaymentRequest;

/// Tries of a batch after transient failures. With the waits of [`RETRY`] they take about two seconds.
const TRIES_MAX: u32 = 8;

const RETRY: Backoff = Backoff {
    first: Duration::from_millis(20),
    max: Duration::from_millis(500),
};

/// One for all writers: each of them fails while the database is away.
static WRITE_ERRORS: RepeatedError = RepeatedError::of("writing payments");

struct Queued {
    request: PaymentRequest,
    answer: oneshot::Sender<Result<Accepted, PayError>>,
}

/// Where requests hand in their payments.
#[derive(Clone)]
pub struct PaymentQueue {
    sender: mpsc::Sender<Queued>,
}

/// Takes payments from the queue and writes them, one transaction at a time.
pub struct PaymentWriter {
    // Locked while waiting for requests and not while writing them: the next free writer gathers next.
    queue: Arc<Mutex<mpsc::Receiver<Queued>>>,
    pool: Pool,
    batch_max: usize,
}

#[must_use]
pub fn group_commit(config: &WriterConfig, pool: &Pool) -> (PaymentQueue, Vec<PaymentWriter>) {
    let (sender, receiver) = mpsc::channel(config.payment_queue_max);
    let queue = Arc::new(Mutex::new(receiver));
    let writers = (0..config.payment_writers)
        .map(|_| PaymentWriter {
            queue: Arc::clone(&queue),
            pool: pool.clone(),
            batch_max: config.payment_batch_max,
        })
        .collect();
    (PaymentQueue { sender }, writers)
}

impl PaymentQueue {
    /// Hands a payment in and waits until it is written.
    ///
    /// Dropping the future undoes nothing: the payment may still be written.
    pub(crate) async fn pay(&self, request: PaymentRequest) -> Result<Accepted, PayError> {
        let (answer, answered) = oneshot::channel();
        self.sender
            .try_send(Queued { request, answer })
            .map_err(|error| match error {
                TrySendError::Full(_) => PayError::QueueFull,
                TrySendError::Closed(_) => PayError::Unavailable,
            })?;
        // A writer that is gone without an answer leaves the outcome open.
        answered.await.unwrap_or(Err(PayError::Unavailable))
    }
}

impl PaymentWriter {
    /// Writes until the last [`PaymentQueue`] is dropped and the queue is empty. Never fails.
    pub async fn run(self) -> anyhow::Result<()> {
        while self.run_once().await > 0 {}
        Ok(())
    }

    /// Waits for a request, writes it with those that wait too, answers them and returns their number;
    /// 0 when the queue is closed.
    pub async fn run_once(&self) -> usize {
        let mut queued = Vec::with_capacity(self.batch_max);
        let taken = self
            .queue
            .lock()
            .await
            .recv_many(&mut queued, self.batch_max)
            .await;
        if taken == 0 {
            return 0;
        }
        metrics::histogram!("payment_batch_requests")
            .record(f64::from(u32::try_from(taken).unwrap_or(u32::MAX)));
        let (requests, answers): (Vec<PaymentRequest>, Vec<_>) = queued
            .into_iter()
            .map(|queued| (queued.request, queued.answer))
            .unzip();
        let outcomes = self.write(&requests).await;
        for ((request, answer), outcome) in requests.iter().zip(answers).zip(outcomes) {
            count(request, &outcome);
            // The client may have hung up. The payment stands nevertheless.
            drop(answer.send(outcome));
        }
        taken
    }

    /// Writes a batch: again after a transient failure, and one by one if the database refuses one of it.
    async fn write(&self, batch: &[PaymentRequest]) -> Vec<Result<Accepted, PayError>> {
        let mut attempt = Try::First;
        for tries in 1..=TRIES_MAX {
            match self.try_write(batch, attempt).await {
                Ok(answers) => {
                    WRITE_ERRORS.succeeded();
                    return answers
                        .into_iter()
                        .map(|answer| answer.map_err(PayError::Declined))
                        .collect();
                }
                Err(error) if error.failure() == Failure::Reject => {
                    let payments = batch.len();
                    error!(payments, "the database refuses: {}", chain(&error));
                    return self.write_one_by_one(batch).await;
                }
                Err(error) => {
                    WRITE_ERRORS.failed(chain(&error));
                    tokio::time::sleep(RETRY.wait(tries)).await;
                }
            }
            attempt = Try::Again;
        }
        batch.iter().map(|_| Err(PayError::Unavailable)).collect()
    }

    /// Finds the request that the database refuses, so that its neighbours are written.
    async fn write_one_by_one(&self, batch: &[PaymentRequest]) -> Vec<Result<Accepted, PayError>> {
        if batch.len() == 1 {
            return vec![Err(PayError::Unwritable)];
        }
        let mut outcomes = Vec::with_capacity(batch.len());
        for request in batch {
            outcomes.extend(Box::pin(self.write(std::slice::from_ref(request))).await);
        }
        outcomes
    }

    async fn try_write(
        &self,
        batch: &[PaymentRequest],
        attempt: Try,
    ) -> Result<Vec<Result<Accepted, Decline>>, BatchError> {
        let mut conn = self.pool.get().await?;
        let traces = batch.iter().map(|request| request.trace.clone());
        let span = spans::transaction("write payments", batch.len(), traces);
        spans::within(
            span,
            write_batch(&mut conn, batch, attempt, Pattern::Outbox),
        )
        .await
    }
}

fn count(request: &PaymentRequest, outcome: &Result<Accepted, PayError>) {
    let label = match outcome {
        Ok(accepted) => accepted.label(),
        Err(error) => error.label(),
    };
    count_request(Pattern::Outbox, label);
    info!(
        payment_id = %request.payment_id,
        wallet_id = %request.wallet_id,
        trace_id = %request.trace.trace_id(),
        "payment {label}"
    );
}
