//! Repairing a loss: payments whose event or result is gone, and a wallet database that was restored from a backup.
//!
//! Promises: whatever is done here may be done again, at any time, also while the services run: each step after it takes a
//! payment once. `docs/recovery.md` tells what to do when.

pub mod cli;
mod recover;
pub(crate) mod redrive;
mod results;

use uuid::Uuid;

/// As in `operator_actions`.
fn subject(payment_id: Uuid) -> String {
    format!("payment/{payment_id}")
}
