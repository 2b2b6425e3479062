//! The relay's behaviour: real processes, on a real PostgreSQL and the real broker.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "tests: a panic is the failure"
)]

mod crash;
mod fair_share;
mod modes;
mod order;
mod outage;
mod publishing;
mod refused;
mod sharing;
mod stage;
mod stop;
