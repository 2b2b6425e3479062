//! The results of a call, and what each says about the provider. Pure.

use std::time::Duration;

use strum::IntoStaticStr;

/// The result of [`Call::Pay`](super::Call::Pay).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PaymentResult {
    /// The provider took the money; the receipt is its proof of payment.
    Accepted { receipt: String },
    /// The provider did not take the money and never will under this payment id. The reason is in its words.
    Declined { reason: String },
    /// The provider may have taken the money.
    Unknown(UnknownCause),
}

/// The result of [`Call::Cancel`](super::Call::Cancel).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CancellationResult {
    /// The provider did not take the money and never will under this payment id.
    Cancelled,
    /// The provider had taken the money before.
    AlreadyPaid { receipt: String },
    /// The provider may have cancelled the payment, and may have taken the money.
    Unknown(UnknownCause),
}

/// The result of either call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallResult {
    Payment(PaymentResult),
    Cancellation(CancellationResult),
}

impl CallResult {
    /// The label of metrics and logs.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Payment(PaymentResult::Accepted { .. }) => "accepted",
            Self::Payment(PaymentResult::Declined { .. }) => "declined",
            Self::Cancellation(CancellationResult::Cancelled) => "cancelled",
            Self::Cancellation(CancellationResult::AlreadyPaid { .. }) => "already_paid",
            Self::Payment(PaymentResult::Unknown(cause))
            | Self::Cancellation(CancellationResult::Unknown(cause)) => cause.into_str(),
        }
    }

    /// What an attempt's row keeps: the receipt, or the reason of a failure.
    #[must_use]
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::Payment(PaymentResult::Accepted { receipt })
            | Self::Cancellation(CancellationResult::AlreadyPaid { receipt }) => {
                Some(receipt.clone())
            }
            Self::Payment(PaymentResult::Declined { reason }) => Some(reason.clone()),
            Self::Cancellation(CancellationResult::Cancelled) => None,
            Self::Payment(PaymentResult::Unknown(cause))
            | Self::Cancellation(CancellationResult::Unknown(cause)) => Some(cause.to_string()),
        }
    }

    /// Why the call's effect is unknown, if it is.
    #[must_use]
    pub const fn cause(&self) -> Option<&UnknownCause> {
        match self {
            Self::Payment(PaymentResult::Unknown(cause))
            | Self::Cancellation(CancellationResult::Unknown(cause)) => Some(cause),
            Self::Payment(PaymentResult::Accepted { .. } | PaymentResult::Declined { .. })
            | Self::Cancellation(
                CancellationResult::Cancelled | CancellationResult::AlreadyPaid { .. },
            ) => None,
        }
    }

    pub(crate) const fn health(&self) -> Health {
        match self.cause() {
            None => Health::Up,
            Some(cause) => cause.health(),
        }
    }
}

/// Why nothing is known of a call's effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum UnknownCause {
    #[error("the provider can't be reached: {0}")]
    Unreachable(String),
    /// No whole reply came in time.
    #[error("the provider did not answer in time")]
    Timeout,
    /// The connection ended before the reply did.
    #[error("the connection to the provider broke: {0}")]
    Broken(String),
    /// The provider says that it can't serve now: 5xx, 408 or 429.
    #[error("the provider answered {status}")]
    Unavailable {
        status: u16,
        retry_after: Option<Duration>,
    },
    /// The provider rejects the request as such: a setting is wrong, or the contract is broken.
    #[error("the provider refused the request with {status}: {detail}")]
    Refused { status: u16, detail: String },
    /// The reply is not what the contract promises.
    #[error("the provider's answer can't be trusted: {0}")]
    Unreadable(String),
    /// Calls whose results were never recorded, as by crashes, have used the attempts up.
    #[error("earlier calls ended without a recorded answer")]
    Unrecorded,
    #[error("the service stopped before the provider answered")]
    Stopped,
}

impl UnknownCause {
    /// What the cause says about the provider.
    #[must_use]
    pub const fn health(&self) -> Health {
        match self {
            Self::Unreachable(_)
            | Self::Timeout
            | Self::Broken(_)
            | Self::Unavailable { .. }
            | Self::Unreadable(_) => Health::Down,
            Self::Refused { status, .. } => match status {
                // These are about the request: another one may be served.
                400 | 405 | 406 | 409..=428 | 431 => Health::Unclear,
                // Redirected, not let in, not found: the provider does not serve us.
                _ => Health::Down,
            },
            Self::Unrecorded | Self::Stopped => Health::Unclear,
        }
    }

    /// How long the provider wants to be left alone, at most `max`; zero if it does not say.
    #[must_use]
    pub(crate) fn retry_after(&self, max: Duration) -> Duration {
        match self {
            Self::Unavailable { retry_after, .. } => retry_after.unwrap_or_default().min(max),
            Self::Unreachable(_)
            | Self::Timeout
            | Self::Broken(_)
            | Self::Refused { .. }
            | Self::Unreadable(_)
            | Self::Unrecorded
            | Self::Stopped => Duration::ZERO,
        }
    }
}

/// What one call says about the provider, whatever it says about the bill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    Up,
    /// The provider does not serve anybody, or not us.
    Down,
    /// The result is about this one request, or the call was given up.
    Unclear,
}
