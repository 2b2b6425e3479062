//! What a reply of the provider means for a bill: pure decisions over values.
//!
//! Promises: money is given back only on the provider's word that it does not have it and never will;
//! what is not known stays open; every bill ends after a bounded number of calls, in the hands of an
//! operator at worst. No clock, no I/O: everything here is tested by value.
//!
//! Begin with [`decide`], then [`judge`].

use std::time::Duration;

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr, VariantArray};

/// The reason a customer reads when the provider was told to refuse the payment.
const CANCELLED: &str = "the provider did not answer in time, and the payment was cancelled";

/// The state of a bill, in the words of the table `bills` and in the order of a bill's life.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", const_into_str)]
#[strum(parse_err_ty = StatusError, parse_err_fn = StatusError::new)]
pub enum Status {
    /// The provider is being asked to take the money.
    Paying,
    /// The attempts are used up: the provider is being asked to refuse the payment from now on.
    Cancelling,
    /// The provider could not be asked: an operator decides.
    Parked,
    /// Final: the provider took the money.
    Paid,
    /// Final: the provider never will take the money.
    Failed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be paying, cancelling, parked, paid or failed")]
pub struct StatusError;

impl StatusError {
    const fn new(_: &str) -> Self {
        Self
    }
}

/// What the provider is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Call {
    /// To take the money.
    Pay,
    /// To refuse the payment from now on, or to say that the money was taken.
    Cancel,
}

impl Call {
    /// Returns the result to go on with instead of call number `attempts` (1, 2, ...), when calls that were
    /// begun and whose result was never recorded, as by crashes, have used the attempts up. `None`: make the call.
    #[must_use]
    pub fn result_of_exhaustion(self, attempts: u32, policy: Policy) -> Option<CallResult> {
        let attempts_max = match self {
            Self::Pay => policy.pay_attempts_max,
            Self::Cancel => policy.cancel_attempts_max,
        };
        (attempts > attempts_max).then(|| self.unknown(UnknownCause::Unrecorded))
    }

    pub(crate) const fn unknown(self, cause: UnknownCause) -> CallResult {
        match self {
            Self::Pay => CallResult::Payment(PaymentResult::Unknown(cause)),
            Self::Cancel => CallResult::Cancellation(CancellationResult::Unknown(cause)),
        }
    }
}

/// The result of [`Call::Pay`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PaymentResult {
    /// The provider took the money; the receipt is its proof of payment.
    Accepted { receipt: String },
    /// The provider did not take the money and never will under this payment id. The reason is in its words.
    Declined { reason: String },
    /// The provider may have taken the money.
    Unknown(UnknownCause),
}

/// The result of [`Call::Cancel`].
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

    /// What an attempt's row keeps: the receipt, or why there is none.
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

/// Whether the provider serves other bills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderState {
    /// The provider serves calls, or did a moment ago: a call that fails is the bill's own failure.
    Available,
    /// The provider serves nobody: a call that fails says nothing about the bill.
    Away,
}

/// How often to try, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Calls to pay before the payment is cancelled.
    pub pay_attempts_max: u32,
    /// How long calls to pay may fail before the payment is cancelled, whatever attempts are left.
    pub pay_deadline: Duration,
    /// Calls to cancel before the bill is parked.
    pub cancel_attempts_max: u32,
    /// How long calls to cancel may fail before the bill is parked, also in an outage.
    pub cancel_deadline: Duration,
}

/// The attempts of a bill in its status so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptState {
    /// The number of the call: 1, 2, ...
    pub attempts: u32,
    /// How long ago the first call failed; zero if none has. In an outage calls to pay don't count.
    pub failing_for: Duration,
}

/// What becomes of a bill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextStep {
    /// Final: settle.
    Paid { receipt: String },
    /// Final: refund. The reason is what the customer reads.
    Failed { reason: String },
    /// The same call again, after the back-off for that many failures (1, 2, ...).
    Retry { failures: u32, cause: UnknownCause },
    /// The same call again, after the back-off; the one that failed does not count: the provider is away.
    Wait { failures: u32, cause: UnknownCause },
    /// Ask the provider to refuse the payment from now on.
    BeginCancelling { cause: UnknownCause },
    /// An operator decides; the money stays where it is.
    Parked { cause: UnknownCause },
}

impl NextStep {
    /// The status of the bill from now on, if it was `current` before.
    #[must_use]
    pub const fn status(&self, current: Status) -> Status {
        match self {
            Self::Paid { .. } => Status::Paid,
            Self::Failed { .. } => Status::Failed,
            Self::Retry { .. } | Self::Wait { .. } => current,
            Self::BeginCancelling { .. } => Status::Cancelling,
            Self::Parked { .. } => Status::Parked,
        }
    }
}

/// Decides what becomes of a bill after a call.
#[must_use]
pub fn decide(
    state: AttemptState,
    result: CallResult,
    provider: ProviderState,
    policy: Policy,
) -> NextStep {
    match result {
        CallResult::Payment(PaymentResult::Accepted { receipt })
        | CallResult::Cancellation(CancellationResult::AlreadyPaid { receipt }) => {
            NextStep::Paid { receipt }
        }
        CallResult::Payment(PaymentResult::Declined { reason }) => NextStep::Failed { reason },
        CallResult::Cancellation(CancellationResult::Cancelled) => NextStep::Failed {
            reason: CANCELLED.to_owned(),
        },
        CallResult::Payment(PaymentResult::Unknown(cause)) => {
            let over = state.failing_for >= policy.pay_deadline;
            let failures = state.attempts;
            if is_outage(provider, &cause) {
                NextStep::Wait { failures, cause }
            } else if failures < policy.pay_attempts_max && !over {
                NextStep::Retry { failures, cause }
            } else {
                NextStep::BeginCancelling { cause }
            }
        }
        CallResult::Cancellation(CancellationResult::Unknown(cause)) => {
            let over = state.failing_for >= policy.cancel_deadline;
            let failures = state.attempts;
            if is_outage(provider, &cause) && !over {
                NextStep::Wait { failures, cause }
            } else if failures < policy.cancel_attempts_max && !over {
                NextStep::Retry { failures, cause }
            } else {
                NextStep::Parked { cause }
            }
        }
    }
}

/// Whether a call failed because the provider is away for all.
const fn is_outage(provider: ProviderState, cause: &UnknownCause) -> bool {
    matches!(
        (provider, cause.health()),
        (ProviderState::Away, Health::Down)
    )
}

/// Whether the executor that decides still has the bill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    Held,
    /// The lease has ended, and another executor has the bill, or nobody has.
    Lost,
}

/// Whether a decision may be recorded, seen from the bill as it is now.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The decision changes the bill.
    Record,
    /// The bill has moved on without this decision, or knows it already: nothing changes.
    Stale,
    /// The bill has ended the other way: the provider contradicts itself. Logged as an error; nothing changes.
    Contradiction,
}

/// Whether `next` may be recorded on a bill that is in the status `current` by now.
///
/// The provider's final word counts whichever executor got it; an unknown result counts only from the executor
/// that has the bill, so that a late one can't undo what was decided since.
pub const fn judge(current: Status, claim: Claim, next: &NextStep) -> Verdict {
    match (current, next) {
        (Status::Paid, NextStep::Failed { .. }) | (Status::Failed, NextStep::Paid { .. }) => {
            Verdict::Contradiction
        }
        (Status::Paid | Status::Failed, _) => Verdict::Stale,
        (
            Status::Paying | Status::Cancelling | Status::Parked,
            NextStep::Paid { .. } | NextStep::Failed { .. },
        ) => Verdict::Record,
        (
            Status::Paying | Status::Cancelling | Status::Parked,
            NextStep::Retry { .. }
            | NextStep::Wait { .. }
            | NextStep::BeginCancelling { .. }
            | NextStep::Parked { .. },
        ) => match claim {
            Claim::Held => Verdict::Record,
            Claim::Lost => Verdict::Stale,
        },
    }
}
