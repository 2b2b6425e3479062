//! The Wi-Fi provider, mocked: an external system that takes money and can be told to misbehave.
//!
//! Promises: a payment's money is taken at most once for its idempotency key, whatever is repeated; a
//! cancelled key is never accepted; with a journal, everything that was answered outlives a kill -9
//! of the process (not a power cut: nothing is synced to the disk). The HTTP server is wiremock's.
//!
//! Absent on purpose: authentication, a check of the currency, and any limit on the number of
//! payments remembered: memory and journal grow with them until `DELETE /payments`.

mod behaviour;
mod bill;
mod input;
mod journal;
mod ledger;
mod memory;
mod routes;
mod server;

pub use behaviour::{Behaviour, BehaviourError};
pub use bill::Bill;
pub use journal::{AppendError, OpenError};
pub use ledger::{Payment, Status};
pub use memory::BehaveError;
pub use server::{Provider, ProviderConfig, ServerEnded, StartError};
