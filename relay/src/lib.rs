//! The outbox pattern's read side: publishes the rows of `outbox` to Kafka and deletes them.
//!
//! Promises: an event is deleted only after Kafka has acknowledged it; events of one key are first
//! published in the order of their `seq`, by however many relays; a crash publishes again, with the same
//! event id, and skips nothing. Leaves to others: what the events mean, and taking each once (the inbox).
//!
//! Knows nothing of wallets: topic, key, headers and payload are columns of the row.
//!
//! # The modules, in reading order
//!
//! ```text
//!  main ──► driver     connects, locks, retries, reports     cli      relay doctor, parked, connector
//!             │
//!             ├─ relay_mode, mode_lock, session    one mode at a time; the connection that holds the locks
//!             ├─ cleanup                     removes what other modes have left
//!             ▼
//!    the trait Mode: start, run_once
//!    ┌──────────────┬──────────────────┬────────────────────┐
//!  poller          cdc               debezium          find events, and delete the published ones
//!  └ shards        ├ stream, pgoutput  ├ connector       (cdc and debezium: with a slot)
//!                  └ table, snapshot   └ connect
//!    └──────┬───────┘                    (Kafka Connect publishes)
//!           ▼
//!       publisher      one lane a topic: what is acknowledged, refused, pending
//!           ▼
//!     parked, waiting          park refused events; block keys for a while (the statements are `outbox::drain`)
//!
//!  progress, pending, slot::gauges    what /readyz and /metrics show
//!  doctor                             what a database and a broker lack
//! ```
//!
//! Begin with [`driver`], then [`poller`], the shortest mode, and [`publisher`]. A program of your own gives
//! [`driver::run`] a [`config::Config`].
//!
//! The features `cdc` and `debezium` are the modes of these names; the poller is always there.

#![warn(missing_docs, clippy::missing_errors_doc)]
#![cfg_attr(
    not(all(feature = "cdc", feature = "debezium")),
    allow(dead_code, reason = "the modes that are left out use it")
)]

#[cfg(feature = "cdc")]
pub mod cdc;
mod cleanup;
pub mod cli;
pub mod config;
#[cfg(feature = "debezium")]
mod debezium;
pub mod doctor;
pub mod driver;
pub mod mode;
pub mod mode_lock;
pub mod parked;
pub mod pending;
pub mod poller;
pub mod progress;
pub mod publisher;
pub mod relay_mode;
pub mod session;
pub mod slot;
mod waiting;

/// The name in logs and database sessions.
pub const SERVICE: &str = "relay";

/// What the metrics of the relay mean.
pub const METRICS: &[chassis::metrics::Help] = &[
    (
        "outbox_oldest_unpublished_age_seconds",
        "Age of the oldest event that is not known to be published",
    ),
    (
        "outbox_pending_rows",
        "Events that are not known to be published, counted up to 10000",
    ),
    ("relay_active", "1 if this relay works, 0 if it stands by"),
    (
        "relay_connector_restarts_total",
        "Times that the relay restarted a task of Debezium's connector",
    ),
    (
        "relay_deleted_total",
        "Rows of the outbox that were deleted after Kafka had them",
    ),
    (
        "relay_delivery_errors_total",
        "Events that Kafka did not take when they were sent; they are sent again or parked",
    ),
    (
        "relay_parked_events",
        "Events that Kafka refuses for good, counted up to 10000; the later ones of their keys wait",
    ),
    ("relay_published_total", "Events that Kafka has confirmed"),
    (
        "relay_refused_total",
        "Events that were parked because Kafka refuses them for good",
    ),
    (
        "relay_shards_held",
        "Shards of the outbox that this relay polls",
    ),
    (
        "relay_slot_lag_bytes",
        "Write-ahead log that the relay has not confirmed",
    ),
    (
        "relay_slot_lag_seconds",
        "Seconds from the last received commit until PostgreSQL sent it; zero when it has nothing to send",
    ),
    (
        "relay_slot_retained_wal_bytes",
        "Write-ahead log that PostgreSQL keeps for the slot",
    ),
    (
        "relay_slot_wal_status",
        "1 for what pg_replication_slots.wal_status says, 0 for the others; all 0 without a slot",
    ),
];
