//! bill-payer's behaviour: on a real PostgreSQL, a real Kafka, and the real mock provider.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests: a panic is the test's failure"
)]

mod attempts;
mod breaker;
mod cancelling;
mod claims;
mod commands;
mod config;
mod dead_letters;
mod domain;
mod housekeeping;
mod https;
mod intake;
mod migrations;
mod openapi;
mod outage;
mod parked;
mod paying;
mod plans;
mod process;
mod provider;
mod reads;
mod redriven;
mod support;
