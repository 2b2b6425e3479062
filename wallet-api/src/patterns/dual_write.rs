//! The pattern `dual-write`: commit, then publish. Wrong, and here to be watched being wrong.
//!
//! This is what one writes at first: two writes to two systems, one after the other. It passes every test
//! that has no crash in it. Between the commit and the acknowledgement the debit is there and the event
//! is nowhere but in this process's memory: if the process dies, if Kafka is away for longer than the
//! request may take, or if the client hangs up and the request is dropped, the customer's money is gone
//! and nobody pays the bill. Repeating the request does not help: its key is known, so it is answered, and
//! nothing is published. Publishing first only turns it round ([`super::publish_first`]).
//!
//! Nothing here repairs it, on purpose. Only the lab runs it.

use chassis::database::Pool;
use tracing::error;
use uuid::Uuid;

use super::publisher::{Message, Publisher};
use crate::domain::{Accepted, Replayed};
use crate::pattern::{Between, Pattern};
use crate::pay_error::{BatchError, PayError};
use crate::payments::{Try, requested_event, write_batch};
use crate::request::PaymentRequest;

/// Debits the wallet, then publishes the event.
pub(super) async fn pay(
    pool: &Pool,
    publisher: &Publisher,
    request: &PaymentRequest,
    between: Between,
) -> Result<Accepted, PayError> {
    let accepted = debit(pool, request, Pattern::DualWrite).await?;
    if accepted.replayed == Replayed::Yes {
        return Ok(accepted);
    }
    // The first write is done. From here to the end, anything that goes wrong loses the event.
    if between.dies(pool).await? {
        // The client never sees this answer.
        return Ok(accepted);
    }
    let event = requested_event(Uuid::now_v7(), request, accepted.money)
        .map_err(|_| PayError::Unwritable)?;
    publisher
        .publish(&Message::event(event))
        .await
        .map_err(|error| {
            let (payment_id, trace_id) = (accepted.payment_id, request.trace.trace_id());
            error!(%payment_id, %trace_id, "debited, and the event is lost: {error}");
            PayError::EventLost(error)
        })?;
    Ok(accepted)
}

/// A transaction of its own, not shared, and with no row for the outbox.
pub(super) async fn debit(
    pool: &Pool,
    request: &PaymentRequest,
    pattern: Pattern,
) -> Result<Accepted, PayError> {
    let mut conn = pool.get().await.map_err(BatchError::from)?;
    let batch = std::slice::from_ref(request);
    let answers = write_batch(&mut conn, batch, Try::First, pattern).await;
    let answer = answers.map_err(PayError::from)?.pop();
    answer
        .expect("a batch of one has one answer")
        .map_err(PayError::Declined)
}
