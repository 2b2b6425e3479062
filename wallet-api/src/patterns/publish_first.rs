//! The pattern `publish-first`: publish, then commit. Wrong, and here to be watched being wrong.
//!
//! This is `dual-write` the other way round. Between the acknowledgement and the commit the event is in Kafka and the
//! wallet knows nothing: if the process dies, or if another payment empties the wallet, the bill is paid and nobody is
//! charged. The result of that bill meets no payment and becomes a dead letter. A client that repeats its request
//! makes it worse: the wallet does not know the key, so a second event is published.
//!
//! Nothing here repairs it, on purpose. Only the lab runs it.

use chassis::database::Pool;
use uuid::Uuid;

use super::dual_write::debit;
use super::publisher::{Message, Publisher};
use crate::domain::{Accepted, Replayed};
use crate::pattern::{Between, Pattern};
use crate::pay_error::{BatchError, PayError};
use crate::payments::{Try, decide_batch, requested_event};
use crate::request::PaymentRequest;

/// Publishes the event, then debits the wallet.
pub(super) async fn pay(
    pool: &Pool,
    publisher: &Publisher,
    request: &PaymentRequest,
    between: Between,
) -> Result<Accepted, PayError> {
    let would_be = ask(pool, request).await?;
    if would_be.replayed == Replayed::Yes {
        return Ok(would_be);
    }
    let event = requested_event(Uuid::now_v7(), request, would_be.money)
        .map_err(|_| PayError::Unwritable)?;
    publisher
        .publish(&Message::event(event))
        .await
        .map_err(PayError::NotPublished)?;
    // The first write is done. From here to the end, anything that goes wrong leaves a bill that nobody is charged for.
    if between.dies(pool).await? {
        // The client never sees this answer.
        return Ok(would_be);
    }
    debit(pool, request, Pattern::PublishFirst).await
}

/// What the wallet would say now. Nothing is written, and each statement releases its locks at its end.
async fn ask(pool: &Pool, request: &PaymentRequest) -> Result<Accepted, PayError> {
    let mut conn = pool.get().await.map_err(BatchError::from)?;
    let batch = std::slice::from_ref(request);
    let decision = decide_batch(&mut conn, batch, Try::First).await?.pop();
    let decision = decision.expect("a batch of one has one decision");
    decision.into_answer().map_err(PayError::Declined)
}
