//! wallet-api's behaviour: through its routes, on a real PostgreSQL.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "tests: a panic is the failure"
)]

mod access;
mod bad_input;
mod contention;
mod dead_letters;
mod domain;
mod group_commit;
mod idempotency;
mod lab;
mod ledger_rules;
mod listen_to_yourself;
mod migrations;
mod mutating_routes;
mod openapi;
mod patterns;
mod pay_bill;
mod plans;
mod process;
mod readiness;
mod reads;
mod recovery;
mod redrive;
mod replay;
mod settlement;
mod support;
