//! The processes of the system on this machine: PostgreSQL, Kafka, Kafka Connect and the services.
//!
//! A [`process_spec::ProcessSpec`] says what to run, a [`supervisor::Supervisor`] owns the running processes, and
//! [`process_table::ProcessTable`] shows their states: on the terminal, over HTTP and in files under `.dev`.

pub mod commands;
pub mod config;
pub mod connect;
pub mod databases;
mod embedded_broker;
pub mod home;
pub mod http;
pub mod jvm;
pub mod kafka;
pub mod lost_data;
pub mod pid_file;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod process_spec;
pub mod process_table;
pub mod program;
pub mod relay_mode;
pub mod scrape;
pub mod servers;
pub mod shutdown_order;
pub mod sources;
pub mod stack;
pub mod stop_signal;
pub mod supervisor;
pub mod system;
pub mod url;
