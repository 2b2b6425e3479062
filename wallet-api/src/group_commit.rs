//! Group commit: payments that arrive together are written together.
//!
//! Requests wait in a bounded queue; each writer takes all that wait, up to a limit, and writes them in
//! one transaction ([`crate::payments`]). When quiet a batch is one request; under load hundreds share
//! one flush of the log. A writer belongs to no request, so a client that hangs up cannot drop a
//! transaction half-way.

use std::sync::Arc;
use std::time::Duration;

use chassis::database::{Failure, Pool, PoolError, classify};
use chassis::trace::trace_id;
use chassis::{Backoff, RepeatedError, telemetry};
use outbox::AppendError;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Mutex, mpsc, oneshot};
use tracing::{error, info};

use crate::config::WriterConfig;
use crate::domain::{Decline, PayBill};
use crate::patterns::{Pattern, count_request};
pub use crate::payments::{Accepted, Replayed};
use crate::payments::{BatchError, Publishing, Try, write_batch};

/// Tries of a batch whose failure may pass. Together with [`RETRY`]: about two seconds.
const TRIES_MAX: u32 = 8;

/// How long to wait between them.
const RETRY: Backoff = Backoff {
    first: Duration::from_millis(20),
    max: Duration::from_millis(500),
};

/// Of all writers: each of them fails while the database is away.
static WRITE_ERRORS: RepeatedError = RepeatedError::of("writing payments");

/// Why a payment has no answer from the wallet.
#[derive(Debug, thiserror::Error)]
pub enum PayError {
    /// The wallet's answer is no; nothing was written.
    #[error("declined")]
    Declined(#[source] Decline),
    /// Too many payments wait; this one was not taken.
    #[error("the queue of payments is full")]
    QueueFull,
    /// The database does not answer. The payment may have been written: repeat it with the same key.
    #[error("the database does not answer")]
    Unavailable,
    /// The database refuses to write this payment, for a reason that is a defect.
    #[error("the payment can't be written")]
    Unwritable,
}

impl PayError {
    /// As in the metrics.
    pub(crate) const fn label(&self) -> &'static str {
        match self {
            Self::Declined(_) => "declined",
            Self::QueueFull | Self::Unavailable => "unavailable",
            Self::Unwritable => "unwritable",
        }
    }
}

impl Accepted {
    /// As in the metrics.
    pub(crate) const fn label(&self) -> &'static str {
        match self.replayed {
            Replayed::No => "accepted",
            Replayed::Yes => "replayed",
        }
    }
}

impl From<BatchError> for PayError {
    fn from(error: BatchError) -> Self {
        match error.failure() {
            Failure::Retry | Failure::Unknown => Self::Unavailable,
            Failure::Reject => Self::Unwritable,
        }
    }
}

struct Queued {
    request: PayBill,
    answer: oneshot::Sender<Result<Accepted, PayError>>,
}

/// Where requests hand in their payments; as many as there are requests.
#[derive(Clone)]
pub struct PaymentQueue {
    sender: mpsc::Sender<Queued>,
}

/// Takes payments from the queue and writes them; as many as are set, one transaction each at a time.
pub struct PaymentWriter {
    // Locked while waiting for requests and not while writing them: whoever is free gathers next.
    queue: Arc<Mutex<mpsc::Receiver<Queued>>>,
    pool: Pool,
    batch_max: usize,
}

/// A queue and its writers.
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
    /// Dropping the future does not undo anything: the payment may still be written.
    ///
    /// # Errors
    /// See [`PayError`].
    pub async fn pay(&self, request: PayBill) -> Result<Accepted, PayError> {
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
    /// Writes until the last [`PaymentQueue`] is dropped and the queue is empty.
    ///
    /// # Errors
    /// None: the signature is that of a service's task.
    pub async fn run(self) -> anyhow::Result<()> {
        while self.run_once().await > 0 {}
        Ok(())
    }

    /// Takes what waits in the queue, writes it, answers, and returns how many requests that were;
    /// none when the queue is closed. Waits for the first.
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
        metrics::histogram!("payment_batch_requests").record(to_f64(taken));
        let (requests, answers): (Vec<PayBill>, Vec<_>) = queued
            .into_iter()
            .map(|queued| (queued.request, queued.answer))
            .unzip();
        let outcomes = self.write(&requests).await;
        for ((request, answer), outcome) in requests.iter().zip(answers).zip(outcomes) {
            count(request, &outcome);
            // The client may have hung up: the payment stands all the same.
            drop(answer.send(outcome));
        }
        taken
    }

    /// Writes a batch, again while the failure may pass, and one by one if one of it is refused.
    async fn write(&self, batch: &[PayBill]) -> Vec<Result<Accepted, PayError>> {
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
                Err(WriteError::Batch(error)) if error.failure() == Failure::Reject => {
                    error!(
                        payments = batch.len(),
                        "the database refuses: {}",
                        telemetry::chain(&error)
                    );
                    return self.write_one_by_one(batch).await;
                }
                Err(error) => {
                    WRITE_ERRORS.failed(telemetry::chain(&error));
                    tokio::time::sleep(RETRY.wait(tries)).await;
                }
            }
            attempt = Try::Again;
        }
        batch.iter().map(|_| Err(PayError::Unavailable)).collect()
    }

    /// Finds the request that the database refuses, so that its neighbours are not hurt.
    async fn write_one_by_one(&self, batch: &[PayBill]) -> Vec<Result<Accepted, PayError>> {
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
        batch: &[PayBill],
        attempt: Try,
    ) -> Result<Vec<Result<Accepted, Decline>>, WriteError> {
        let mut conn = self.pool.get().await?;
        Ok(write_batch(&mut conn, batch, attempt, Publishing::ByRelay).await?)
    }
}

#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error("waiting for a database connection")]
    Pool(#[from] PoolError),
    #[error(transparent)]
    Batch(#[from] BatchError),
}

impl BatchError {
    pub(crate) fn failure(&self) -> Failure {
        match self {
            Self::Database(error) | Self::Append(AppendError::Database(error)) => classify(error),
            Self::Append(AppendError::OutsideTransaction) | Self::Currency(_) | Self::Json(_) => {
                Failure::Reject
            }
        }
    }
}

fn count(request: &PayBill, outcome: &Result<Accepted, PayError>) {
    let label = match outcome {
        Ok(accepted) => accepted.label(),
        Err(error) => error.label(),
    };
    count_request(Pattern::Outbox, label);
    info!(
        payment_id = %request.payment_id,
        wallet_id = %request.wallet_id,
        trace_id = trace_id(&request.traceparent),
        "payment {label}"
    );
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a metric: batches are far below 2^52"
)]
const fn to_f64(count: usize) -> f64 {
    count as f64
}
