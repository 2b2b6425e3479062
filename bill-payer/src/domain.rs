//! What a reply of the provider means for a bill: pure decisions over values.
//!
//! Promises: money is given back only on the provider's word that it does not have it and never will;
//! what is not known stays open; every bill ends after a bounded number of calls, in the hands of an
//! operator at worst. No clock, no I/O: everything here is tested by value.
//!
//! Begin with [`decide`], then [`judge`].

mod call_result;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr, VariantArray};
use utoipa::ToSchema;

pub use self::call_result::{CallResult, CancellationResult, Health, PaymentResult, UnknownCause};

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
    ToSchema,
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
#[derive(
    Debug,
    Default,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Deserialize,
    IntoStaticStr,
    clap::ValueEnum,
    ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Call {
    /// To take the money.
    Pay,
    /// To refuse the payment from now on, or to say that the money was taken.
    // What an operator's retry asks, unless told otherwise: nothing that the bill did not ask before.
    #[default]
    Cancel,
}

impl Call {
    /// The status of a bill whose next call is this one.
    pub(crate) const fn status(self) -> Status {
        match self {
            Self::Pay => Status::Paying,
            Self::Cancel => Status::Cancelling,
        }
    }

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
