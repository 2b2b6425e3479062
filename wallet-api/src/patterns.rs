//! Four ways to debit a wallet and publish that it was debited: two writes to two systems.
//!
//! | pattern | the request | what a crash of the process does |
//! | --- | --- | --- |
//! | `outbox` | one transaction ([`crate::payments`]): debit and event; the relay publishes | nothing: there is one write |
//! | [`listen_to_yourself`] | publishes a command; a consumer debits, and publishes the event | nothing; the answer is "accepted", not "debited" |
//! | [`dual_write`] | debits, then publishes | loses the event, and so the customer's money |
//! | [`publish_first`] | publishes, then debits | loses the debit: a bill is paid that nobody is charged for |
//!
//! `PAY_PATTERN` chooses. Requests, wallets, ledger, events and everything after `wallet.events` are the
//! same for all four.

mod between;
mod dual_write;
pub(crate) mod listen_to_yourself;
mod publish_first;
pub(crate) mod publisher;

use chassis::TraceContext;
use chassis::database::Pool;
use tracing::info;
use uuid::Uuid;

pub use self::listen_to_yourself::{COMMANDS_BATCH_MAX, Commands};
pub use self::publisher::{MessageTimeout, PublishError, Publisher};
use crate::domain::Accepted;
use crate::group_commit::PaymentQueue;
use crate::pattern::{Between, Choice, Pattern, count_request};
use crate::pay_error::PayError;
use crate::request::PaymentRequest;

/// What the patterns write with.
pub struct Patterns {
    queue: PaymentQueue,
    pool: Pool,
    publisher: Publisher,
}

/// The answer to a request that was not refused.
pub(crate) enum Answer {
    /// The wallet was debited.
    Pending(Accepted),
    /// The wallet will be debited, if it allows it. The payment has this id.
    Accepted(Uuid),
}

impl Patterns {
    /// `publisher` is for the patterns that publish in the request, so it needs a timeout.
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
        choice: Choice,
        request: &PaymentRequest,
    ) -> Result<Answer, PayError> {
        let answer = match choice.pattern {
            // The writer counts these, also those whose clients have hung up.
            Pattern::Outbox => return self.queue.pay(request.clone()).await.map(Answer::Pending),
            Pattern::ListenToYourself => listen_to_yourself::pay(&self.publisher, request)
                .await
                .map(Answer::Accepted),
            Pattern::DualWrite => {
                dual_write::pay(&self.pool, &self.publisher, request, choice.between)
                    .await
                    .map(Answer::Pending)
            }
            Pattern::PublishFirst => {
                publish_first::pay(&self.pool, &self.publisher, request, choice.between)
                    .await
                    .map(Answer::Pending)
            }
        };
        count(choice, &answer, &request.trace);
        answer
    }
}

fn count(choice: Choice, answer: &Result<Answer, PayError>, trace: &TraceContext) {
    let Choice { pattern, between } = choice;
    let (label, payment_id) = match answer {
        // The crash came before the debit: this payment does not exist.
        Ok(Answer::Pending(would_be))
            if (pattern, between) == (Pattern::PublishFirst, Between::Crash) =>
        {
            ("crashed", Some(would_be.payment_id))
        }
        Ok(Answer::Pending(accepted)) => (accepted.label(), Some(accepted.payment_id)),
        Ok(Answer::Accepted(id)) => ("accepted", Some(*id)),
        Err(error) => (error.label(), None),
    };
    count_request(pattern, label);
    let payment_id = payment_id.map(tracing::field::display);
    let pattern = pattern.name();
    let trace_id = trace.trace_id();
    info!(payment_id, %trace_id, pattern, "payment {label}");
}
