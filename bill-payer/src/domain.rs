//! What an answer of the provider means for a bill: pure decisions over values.
//!
//! Promises: money is given back only on the provider's word that it does not have it and never will;
//! what is not known stays open; every bill ends after a bounded number of calls, in the hands of an
//! operator at worst. No clock, no I/O: everything here is tested by value.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::breaker::Health;

/// The reason a customer reads when the provider was told to refuse the payment.
const CANCELLED: &str = "the provider did not answer in time, and the payment was cancelled";

/// Where a bill is on its way; the same words as in the table `bills`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The provider is being asked to take the money.
    Paying,
    /// The tries are used up: the provider is being asked to refuse the payment from now on.
    Cancelling,
    /// The provider could not be asked: an operator decides.
    Parked,
    /// Final: the provider took the money.
    Paid,
    /// Final: the provider never will take the money.
    Failed,
}

/// What the provider is asked next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Take the money.
    Pay,
    /// Refuse the payment from now on, or say that the money was taken.
    Cancel,
}

/// What the provider said to [`Call::Pay`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderAnswer {
    /// It took the money.
    Accepted {
        /// Its proof of payment.
        receipt: String,
    },
    /// It did not take the money and never will under this payment id.
    Declined {
        /// In the provider's words.
        reason: String,
    },
    /// It may have taken the money.
    Unknown(Why),
}

/// What the provider said to [`Call::Cancel`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CancelAnswer {
    /// It did not take the money and never will under this payment id.
    Cancelled,
    /// It had taken the money before.
    AlreadyPaid {
        /// Its proof of payment.
        receipt: String,
    },
    /// It may have cancelled the payment, and may have taken the money.
    Unknown(Why),
}

/// An answer, and to what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To [`Call::Pay`].
    ToPay(ProviderAnswer),
    /// To [`Call::Cancel`].
    ToCancel(CancelAnswer),
}

/// Why nothing is known of a call's effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// No connection to the provider could be made.
    #[error("the provider can't be reached: {0}")]
    Unreachable(String),
    /// No whole answer came in time.
    #[error("the provider did not answer in time")]
    Timeout,
    /// The connection ended before the answer did.
    #[error("the connection to the provider broke: {0}")]
    Broken(String),
    /// The provider says that it can't serve now: 5xx, 408 or 429.
    #[error("the provider answered {status}")]
    Unavailable {
        /// HTTP status.
        status: u16,
        /// When it wants to be asked again, if it says so.
        retry_after: Option<Duration>,
    },
    /// The provider does not take the request as one: a wrong setting or a broken contract.
    #[error("the provider refused the request with {status}: {detail}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// In the provider's words.
        detail: String,
    },
    /// The answer is not what the contract promises.
    #[error("the provider's answer can't be trusted: {0}")]
    Unreadable(String),
    /// The tries were used up by calls whose answers were never recorded, as by crashes.
    #[error("earlier calls ended without a recorded answer")]
    Unrecorded,
    /// The service stopped while the call was in flight.
    #[error("the service stopped before the provider answered")]
    Stopped,
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
    /// How long calls to cancel may fail before the bill is parked, in an outage, too.
    pub cancel_deadline: Duration,
}

/// What was tried for a bill in its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tries {
    /// The number of the call: 1, 2, ...
    pub attempts: u32,
    /// How long ago the first call failed; zero if none has. In an outage calls to pay don't count.
    pub failing_for: Duration,
}

/// Whether the provider is there for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// It answers, or did a moment ago: a call that fails is the bill's own.
    There,
    /// It is away for all: a call that fails says nothing about the bill.
    Away,
}

/// What becomes of a bill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Final: settle.
    Paid {
        /// The provider's proof of payment.
        receipt: String,
    },
    /// Final: refund.
    Failed {
        /// What the customer reads.
        reason: String,
    },
    /// The same call again, after the back-off for that many failures (1, 2, ...).
    Retry {
        /// Calls that have failed so far.
        failures: u32,
        /// How the last one did.
        why: Why,
    },
    /// The same call again, after the back-off; the one that failed does not count: the provider is away.
    Wait {
        /// The number of the call.
        failures: u32,
        /// How it failed.
        why: Why,
    },
    /// Ask the provider to refuse the payment from now on.
    BeginCancelling {
        /// How the last call to pay failed.
        why: Why,
    },
    /// An operator decides; the money stays where it is.
    Parked {
        /// How the last call to cancel failed.
        why: Why,
    },
}

/// Whether a decision may be recorded, seen from the bill as it is now.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It changes the bill.
    Record,
    /// The bill has moved on without this answer, or knows it already: nothing to do.
    Stale,
    /// The bill has ended the other way: the provider contradicts itself. Nothing to do but shout.
    Contradiction,
}

/// Whether the executor that decides still has the bill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Nobody else has taken the bill since.
    Held,
    /// Its lease ended and another executor has the bill, or nobody has.
    Lost,
}

impl Call {
    /// The label of metrics and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Pay => "pay",
            Self::Cancel => "cancel",
        }
    }

    /// The answer to go on with instead of call number `attempts` (1, 2, ...), when calls that were
    /// begun and never answered, as by crashes, have used the attempts up. None: make the call.
    #[must_use]
    pub fn answered_by_exhaustion(self, attempts: u32, policy: Policy) -> Option<Answer> {
        match self {
            Self::Pay => (attempts > policy.pay_attempts_max)
                .then_some(Answer::ToPay(ProviderAnswer::Unknown(Why::Unrecorded))),
            Self::Cancel => (attempts > policy.cancel_attempts_max)
                .then_some(Answer::ToCancel(CancelAnswer::Unknown(Why::Unrecorded))),
        }
    }
}

/// What becomes of a bill after `answer` to a call.
#[must_use]
pub fn decide(tries: Tries, answer: Answer, reach: Reach, policy: Policy) -> Next {
    match answer {
        Answer::ToPay(ProviderAnswer::Accepted { receipt })
        | Answer::ToCancel(CancelAnswer::AlreadyPaid { receipt }) => Next::Paid { receipt },
        Answer::ToPay(ProviderAnswer::Declined { reason }) => Next::Failed { reason },
        Answer::ToCancel(CancelAnswer::Cancelled) => Next::Failed {
            reason: CANCELLED.to_owned(),
        },
        Answer::ToPay(ProviderAnswer::Unknown(why)) => {
            let over = tries.failing_for >= policy.pay_deadline;
            let failures = tries.attempts;
            if outage(reach, &why) {
                Next::Wait { failures, why }
            } else if failures < policy.pay_attempts_max && !over {
                Next::Retry { failures, why }
            } else {
                Next::BeginCancelling { why }
            }
        }
        Answer::ToCancel(CancelAnswer::Unknown(why)) => {
            let over = tries.failing_for >= policy.cancel_deadline;
            let failures = tries.attempts;
            if outage(reach, &why) && !over {
                Next::Wait { failures, why }
            } else if failures < policy.cancel_attempts_max && !over {
                Next::Retry { failures, why }
            } else {
                Next::Parked { why }
            }
        }
    }
}

/// Whether a call failed because the provider is away for all.
const fn outage(reach: Reach, why: &Why) -> bool {
    matches!((reach, why.health()), (Reach::Away, Health::Down))
}

/// Whether `next` may be recorded on a bill that is in the status `current` by now.
///
/// The provider's final word counts whoever heard it; what is not known counts only from the executor
/// that has the bill, so that a late one can't undo what was decided since.
pub const fn judge(current: Status, claim: Claim, next: &Next) -> Verdict {
    match (current, next) {
        (Status::Paid, Next::Failed { .. }) | (Status::Failed, Next::Paid { .. }) => {
            Verdict::Contradiction
        }
        (Status::Paid | Status::Failed, _) => Verdict::Stale,
        (
            Status::Paying | Status::Cancelling | Status::Parked,
            Next::Paid { .. } | Next::Failed { .. },
        ) => Verdict::Record,
        (
            Status::Paying | Status::Cancelling | Status::Parked,
            Next::Retry { .. }
            | Next::Wait { .. }
            | Next::BeginCancelling { .. }
            | Next::Parked { .. },
        ) => match claim {
            Claim::Held => Verdict::Record,
            Claim::Lost => Verdict::Stale,
        },
    }
}

impl Answer {
    /// The label of metrics and logs.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::ToPay(ProviderAnswer::Accepted { .. }) => "accepted",
            Self::ToPay(ProviderAnswer::Declined { .. }) => "declined",
            Self::ToCancel(CancelAnswer::Cancelled) => "cancelled",
            Self::ToCancel(CancelAnswer::AlreadyPaid { .. }) => "already_paid",
            Self::ToPay(ProviderAnswer::Unknown(why))
            | Self::ToCancel(CancelAnswer::Unknown(why)) => why.label(),
        }
    }

    /// What to keep of it for whoever looks: the receipt, or why there is none.
    #[must_use]
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::ToPay(ProviderAnswer::Accepted { receipt })
            | Self::ToCancel(CancelAnswer::AlreadyPaid { receipt }) => Some(receipt.clone()),
            Self::ToPay(ProviderAnswer::Declined { reason }) => Some(reason.clone()),
            Self::ToCancel(CancelAnswer::Cancelled) => None,
            Self::ToPay(ProviderAnswer::Unknown(why))
            | Self::ToCancel(CancelAnswer::Unknown(why)) => Some(why.to_string()),
        }
    }

    /// Why the call's effect is unknown, if it is.
    #[must_use]
    pub const fn why(&self) -> Option<&Why> {
        match self {
            Self::ToPay(ProviderAnswer::Unknown(why))
            | Self::ToCancel(CancelAnswer::Unknown(why)) => Some(why),
            Self::ToPay(ProviderAnswer::Accepted { .. } | ProviderAnswer::Declined { .. })
            | Self::ToCancel(CancelAnswer::Cancelled | CancelAnswer::AlreadyPaid { .. }) => None,
        }
    }
}

impl Next {
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

impl Status {
    /// Every status, in the order of a bill's life.
    pub const ALL: [Self; 5] = [
        Self::Paying,
        Self::Cancelling,
        Self::Parked,
        Self::Paid,
        Self::Failed,
    ];

    /// The word in the table `bills`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Paying => "paying",
            Self::Cancelling => "cancelling",
            Self::Parked => "parked",
            Self::Paid => "paid",
            Self::Failed => "failed",
        }
    }
}

/// The text is not a [`Status`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be paying, cancelling, parked, paid or failed")]
pub struct StatusError;

impl FromStr for Status {
    type Err = StatusError;

    fn from_str(text: &str) -> Result<Self, StatusError> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or(StatusError)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Why {
    /// The label of metrics and logs.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Timeout => "timeout",
            Self::Broken(_) => "broken",
            Self::Unavailable { .. } => "unavailable",
            Self::Refused { .. } => "refused",
            Self::Unreadable(_) => "unreadable",
            Self::Unrecorded => "unrecorded",
            Self::Stopped => "stopped",
        }
    }
}
