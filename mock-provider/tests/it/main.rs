//! The provider through its public routes: in this process, and where it is killed, as the real binary.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy allows these in tests, but not in their helpers"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "a test spawns what it awaits or kills itself"
)]

mod bad_input;
mod behaviour;
mod cancellation;
mod idempotency;
mod journal;
mod listing;
mod load;
mod process;
mod setup;
