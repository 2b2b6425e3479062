//! End to end: every process for real, killed for real.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "tests: a panic is the failure"
)]

mod amounts;
mod asyncapi;
mod audit;
mod bench;
mod crashes;
mod damage;
mod dead_letter;
mod differences;
mod failover;
mod faults;
mod header_names;
mod order;
mod page;
mod payments;
mod readme;
mod recovery;
mod running;
mod secure;
mod spans;
mod system;
mod trace;
mod up;
