//! The pattern `outbox`: the event is a row of the transaction that debits the wallet.
//!
//! There is one write, so there is nothing between two. Whatever dies afterwards, the row is there, and
//! the relay publishes it. The transaction is [`crate::payments`], shared by the requests that arrive
//! together ([`crate::group_commit`]).
//!
//! The caller gets the wallet's own answer: `pending`, or why not.

use super::NotPaid;
use crate::domain::PayBill;
use crate::group_commit::{Accepted, PaymentQueue};
use crate::lab::Crash;

/// Debits the wallet and appends the event, in one transaction.
pub(super) async fn pay(
    queue: &PaymentQueue,
    request: PayBill,
    crash: Crash,
) -> Result<Accepted, NotPaid> {
    let accepted = queue.pay(request).await?;
    crash.may_happen()?;
    Ok(accepted)
}
