//! What every service has, so that a service's own code is about its own work: configuration,
//! logs, metrics, health, an HTTP server with limits, a database pool, a Kafka consumer loop, and an
//! orderly stop.
//!
//! Promises: everything that waits has a limit; SIGTERM drains within [`service::STOP_WITHIN`];
//! whatever fails for good ends the process with its reason, never a half-alive service.

#![warn(missing_docs, clippy::missing_errors_doc)]

pub mod access;
pub mod backoff;
pub mod cli;
pub mod config;
pub mod consumer;
pub mod database;
pub mod endpoint;
mod error_chain;
pub mod health;
pub mod hosts;
pub mod http;
pub mod kafka;
pub mod metrics;
pub mod openapi;
pub mod problem;
pub mod repeated;
pub mod replay;
mod secret_file;
pub mod service;
pub mod since;
pub mod spans;
pub mod telemetry;
pub mod trace;

pub use backoff::Backoff;
pub use problem::Problem;
pub use repeated::RepeatedError;
pub use service::Service;
pub use trace::TraceContext;
