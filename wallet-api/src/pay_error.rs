//! Why a payment was not made, and what follows from that for a retry, for the client and for a consumer.

use axum::http::StatusCode;
use chassis::Problem;
use chassis::consumer::HandleError;
use chassis::database::{Failure, PoolError, classify};
use chassis::telemetry::chain;
use operations::dead_letters::RedeliverError;
use outbox::AppendError;
use tracing::warn;
use uuid::Uuid;

use crate::domain::Decline;
use crate::patterns::publisher::PublishError;

/// A batch was not written; none of it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BatchError {
    #[error("waiting for a database connection")]
    Pool(#[from] PoolError),
    #[error("writing a batch of payments")]
    Database(#[from] diesel::result::Error),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error("wallet {0} stores an unknown currency")]
    Currency(Uuid),
    #[error("an event could not be written as JSON")]
    Json(#[from] serde_json::Error),
}

impl BatchError {
    pub(crate) fn failure(&self) -> Failure {
        match self {
            Self::Pool(_) => Failure::Retry,
            Self::Database(error) | Self::Append(AppendError::Database(error)) => classify(error),
            Self::Append(AppendError::OutsideTransaction) | Self::Currency(_) | Self::Json(_) => {
                Failure::Reject
            }
        }
    }
}

impl From<BatchError> for HandleError {
    fn from(error: BatchError) -> Self {
        Self::of(error.failure(), error)
    }
}

impl From<BatchError> for RedeliverError {
    fn from(error: BatchError) -> Self {
        match error {
            BatchError::Database(error) | BatchError::Append(AppendError::Database(error)) => {
                Self::Database(error)
            }
            BatchError::Pool(_)
            | BatchError::Append(AppendError::OutsideTransaction)
            | BatchError::Currency(_)
            | BatchError::Json(_) => Self::Refused(chain(&error)),
        }
    }
}

/// A request to pay was not accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PayError {
    /// The wallet's answer is no; nothing was written.
    #[error("declined")]
    Declined(#[source] Decline),
    #[error("no currency has so many digits after the decimal point")]
    TooPrecise,
    #[error("the queue of payments is full")]
    QueueFull,
    /// The payment may have been written: the client repeats it with the same key.
    #[error("the database does not answer")]
    Unavailable,
    /// The database refuses to write this payment, for a reason that is a defect.
    #[error("the payment can't be written")]
    Unwritable,
    /// Only in `listen-to-yourself` and `publish-first`.
    #[error("the message is not known to be published")]
    NotPublished(#[source] PublishError),
    /// Only in `dual-write`.
    #[error("the wallet was debited, and the event is lost")]
    EventLost(#[source] PublishError),
}

impl PayError {
    /// As in the metrics.
    pub(crate) const fn label(&self) -> &'static str {
        match self {
            Self::Declined(_) | Self::TooPrecise => "declined",
            Self::QueueFull | Self::Unavailable | Self::NotPublished(_) => "unavailable",
            Self::Unwritable => "unwritable",
            Self::EventLost(_) => "event_lost",
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

impl From<PayError> for Problem {
    fn from(error: PayError) -> Self {
        match error {
            PayError::Declined(decline) => decline.into(),
            PayError::TooPrecise => Self::invalid(error.to_string()).in_field("amount"),
            PayError::QueueFull => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "queue-full",
                "Too many payments at once",
                "nothing was written; try again with the same Idempotency-Key",
            )
            .retry_after(1),
            PayError::Unavailable => Self::unavailable(
                "the database does not answer, or can't do this now (GET /readyz says more); try again with the \
                 same Idempotency-Key",
            ),
            PayError::Unwritable => Self::internal(&error),
            PayError::NotPublished(error) => {
                warn!("answering 503: {}", chain(&error));
                Self::unavailable(
                    "Kafka does not answer; the payment may have been accepted nevertheless, so try \
                     again with the same Idempotency-Key",
                )
            }
            PayError::EventLost(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "event-lost",
                "The event was not published",
                "the wallet was debited, and nobody will pay the bill: that is what dual-write does",
            ),
        }
    }
}

impl From<Decline> for Problem {
    fn from(decline: Decline) -> Self {
        let detail = decline.to_string();
        let (status, slug, title) = match decline {
            Decline::UnknownWallet(_) => {
                (StatusCode::NOT_FOUND, "unknown-wallet", "Unknown wallet")
            }
            Decline::InsufficientFunds { .. } => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "insufficient-funds",
                "Insufficient funds",
            ),
            Decline::CurrencyMismatch { .. } => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "currency-mismatch",
                "Another currency than the wallet's",
            ),
            Decline::TooManyDecimals(_) => return Self::invalid(detail).in_field("amount"),
            Decline::KeyReused => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "The Idempotency-Key was used for another request",
            ),
        };
        Self::new(status, slug, title, detail)
    }
}
