//! For tests only: a database and topics for each test, on the real PostgreSQL and the
//! real broker, and waits for a state instead of sleeps.
//!
//! The servers are those of `TEST_DATABASE_URL`, `TEST_KAFKA_BROKERS` and `TEST_CONNECT_URL`, which
//! `./dev test` starts and names. A test that finds none fails and says so.
#![expect(
    clippy::missing_panics_doc,
    clippy::panic,
    reason = "a test's tools fail by panicking: that is the test's failure"
)]

mod certificates;
mod cluster;
mod database;
mod dump;
mod eventually;
mod kafka_acls;
mod pooler;
mod process;
mod proxy;
mod raw_produce;
mod routes;
mod schemathesis;
mod server;
mod server_user;
mod tls_front;
mod topics;

pub use certificates::{Authority, Issued, Validity};
pub use cluster::KafkaCluster;
pub use database::{InTheWay, TestDatabase};
pub use dump::up_down_up;
pub use eventually::{DEADLINE, eventually};
pub use kafka_acls::{KafkaOperation, KafkaResource, allow};
pub use pooler::Pooler;
pub use process::{Process, command, free_address};
pub use proxy::Proxy;
pub use raw_produce::produce_bytes;
pub use routes::{documented_routes, routes};
pub use schemathesis::schemathesis;
pub use server::{PostgresServer, Stop};
pub use tls_front::TlsFront;
pub use topics::{
    TopicReader, headers, kafka_brokers, produce, remove_header, set_header, unique_prefix,
};

use std::collections::BTreeSet;

/// The PostgreSQL server, for a test that creates its databases by itself.
#[must_use]
pub fn server_url() -> String {
    setting("TEST_DATABASE_URL")
}

#[must_use]
pub fn connect_url() -> String {
    setting("TEST_CONNECT_URL")
}

/// The names of the metrics in Prometheus' text `metrics` that no `# HELP` line says the meaning of.
#[must_use]
pub fn metrics_without_help(metrics: &str) -> BTreeSet<&str> {
    let helps = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# HELP "));
    let helps = helps.filter_map(|line| line.split_once(' '));
    let helps: BTreeSet<&str> = helps.map(|(name, _)| name).collect();
    let types = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "));
    let named = types.filter_map(|line| line.split_once(' '));
    named
        .map(|(name, _)| name)
        .filter(|name| !helps.contains(name))
        .collect()
}

/// The folder with the programs of another commit, which `./dev test upgrade` builds.
#[must_use]
pub fn former_programs() -> std::path::PathBuf {
    setting("FORMER_PROGRAMS").into()
}

fn setting(name: &str) -> String {
    #[expect(
        clippy::disallowed_methods,
        reason = "the test servers are found by the environment; this is the tests' config"
    )]
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: run the tests by ./dev test, which sets it"))
}
