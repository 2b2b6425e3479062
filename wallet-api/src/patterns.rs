//! Three ways to debit a wallet and publish that it was debited: two writes to two systems.
//!
//! | pattern | the request | what a crash of the process does |
//! | --- | --- | --- |
//! | [`outbox`] | one transaction: debit and event; the relay publishes | nothing |
//! | [`listen_to_yourself`] | publishes a command; a consumer debits, and publishes the event | nothing; the answer is "accepted", not "debited" |
//! | [`dual_write`] | debits, then publishes | loses the event, and so the customer's money |
//!
//! `PAY_PATTERN` chooses. Requests, wallets, ledger, events and everything behind `wallet.events` are the
//! same for all three.

mod dual_write;
mod listen_to_yourself;
mod outbox;
mod publisher;

use chassis::database::Pool;
use chassis::trace::trace_id;
use tracing::info;
use uuid::Uuid;

pub(crate) use self::listen_to_yourself::redeliver;
pub use self::listen_to_yourself::{COMMANDS_BATCH_MAX, Commands};
pub use self::publisher::{Patience, PublishError, Publisher};
use crate::domain::PayBill;
use crate::group_commit::{Accepted, PayError, PaymentQueue};
use crate::lab::Crash;

/// How a payment is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Pattern {
    /// Debit and event in one transaction; a relay publishes
    Outbox,
    /// Publish a command, debit when it comes back; the answer is "accepted", not "debited"
    ListenToYourself,
    /// Debit, then publish; loses events, so the lab only
    DualWrite,
}

impl Pattern {
    /// As in the setting, the header and the metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Outbox => "outbox",
            Self::ListenToYourself => "listen-to-yourself",
            Self::DualWrite => "dual-write",
        }
    }
}

/// What the patterns write with.
pub struct Patterns {
    queue: PaymentQueue,
    pool: Pool,
    publisher: Publisher,
}

/// How a request ends that was not refused.
pub(crate) enum Paid {
    /// The wallet was debited.
    Pending(Accepted),
    /// It will be, if it allows it; the payment has this id.
    Accepted(Uuid),
}

/// How a request ends otherwise.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotPaid {
    #[error(transparent)]
    Wallet(#[from] PayError),
    #[error("no currency has so many digits after the decimal point")]
    TooPrecise,
    #[error("the command is not known to be published")]
    CommandNotPublished(#[source] PublishError),
    #[error("the wallet was debited, and the event is lost")]
    EventLost(#[source] PublishError),
    #[error("a simulated crash")]
    SimulatedCrash,
}

impl Patterns {
    /// `publisher`, whose patience ends, is for the patterns that publish in the request.
    #[must_use]
    pub const fn new(queue: PaymentQueue, pool: Pool, publisher: Publisher) -> Self {
        Self {
            queue,
            pool,
            publisher,
        }
    }

    /// Pays, or not, and counts it.
    pub(crate) async fn pay(
        &self,
        pattern: Pattern,
        request: PayBill,
        crash: Crash,
    ) -> Result<Paid, NotPaid> {
        let traceparent = request.traceparent.clone();
        let paid = match pattern {
            // Counted by the writer, which has all of them, also those whose clients hang up.
            Pattern::Outbox => {
                let accepted = outbox::pay(&self.queue, request, crash).await?;
                return Ok(Paid::Pending(accepted));
            }
            Pattern::ListenToYourself => listen_to_yourself::pay(&self.publisher, request, crash)
                .await
                .map(Paid::Accepted),
            Pattern::DualWrite => dual_write::pay(&self.pool, &self.publisher, request, crash)
                .await
                .map(Paid::Pending),
        };
        count(pattern, &paid, trace_id(&traceparent));
        paid
    }
}

fn count(pattern: Pattern, paid: &Result<Paid, NotPaid>, trace_id: &str) {
    let label = match paid {
        Ok(Paid::Pending(accepted)) => accepted.label(),
        Ok(Paid::Accepted(_)) => "accepted",
        Err(NotPaid::Wallet(error)) => error.label(),
        Err(NotPaid::TooPrecise) => "declined",
        Err(NotPaid::CommandNotPublished(_)) => "unavailable",
        Err(NotPaid::EventLost(_)) => "event_lost",
        Err(NotPaid::SimulatedCrash) => "crashed",
    };
    count_request(pattern, label);
    let payment_id = match paid {
        Ok(Paid::Pending(accepted)) => Some(accepted.payment_id),
        Ok(Paid::Accepted(id)) => Some(*id),
        Err(_) => None,
    };
    let payment_id = payment_id.map(tracing::field::display);
    info!(
        payment_id,
        trace_id,
        pattern = pattern.name(),
        "payment {label}"
    );
}

/// Counts a request that has been answered.
pub(crate) fn count_request(pattern: Pattern, outcome: &'static str) {
    let labels = [("pattern", pattern.name()), ("outcome", outcome)];
    metrics::counter!("payment_requests_total", &labels).increment(1);
}
