//! Repairing a loss: payments whose event or result is gone, and a wallet database that was restored from a backup.
//!
//! Promises: each repair may be repeated, at any time, also while the services run, because each step after it takes a
//! payment once. `docs/recovery.md` tells when to use which.

pub mod cli;
mod recover;
pub(crate) mod redrive;
mod results;

use uuid::Uuid;

/// The subject in `operator_actions`.
fn subject(payment_id: Uuid) -> String {
    format!("payment/{payment_id}")
}
