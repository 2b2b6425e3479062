//! End to end: every process for real, killed for real.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "tests: a panic is the failure"
)]

mod bench;
mod crashes;
mod dead_letter;
mod order;
mod payments;
mod readme;
mod system;
mod up;
