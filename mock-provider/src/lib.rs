//! The Wi-Fi provider, mocked: an external system that takes money and misbehaves on demand.
//!
//! Promises: a payment's money is taken at most once for its idempotency key; a cancelled key is never
//! accepted; with a journal, everything that a response has reported outlives a kill -9 of the process (not a
//! power cut: nothing is synced to the disk).
//!
//! Absent on purpose: authentication, a check of the currency, and a limit on the number of
//! payments: memory and journal grow with them until `DELETE /payments`.
//!
//! Begin with `routes` (the API), then read inwards: `state` writes a change to the `journal` and remembers it,
//! `ledger` decides, `behaviour` draws the faults. `server` is wiremock and the work around it.

mod behaviour;
mod bill;
mod journal;
mod ledger;
mod request;
mod routes;
mod server;
mod state;

pub use behaviour::{Behaviour, BehaviourError};
pub use journal::{AppendError, OpenError};
pub use server::{Provider, ProviderConfig, ServerEnded, StartError};
pub use state::BehaveError;
