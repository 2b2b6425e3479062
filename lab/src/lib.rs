//! Runs the whole system on this machine, without containers: PostgreSQL, Kafka and every service.
//!
//! Promises: whatever it starts it also stops, in order and in bounded time, also when it was killed
//! itself and comes back; it never ends a process that it did not start; a part that dies is
//! started again, visibly. The services are processes to it: it imports none of their internals.
//!
//! A [`part::Part`] says what to run, a [`supervisor::Supervisor`] owns the running parts, and
//! [`board::Board`] shows what has become of them: on the terminal, over HTTP and in files under `.dev`.

mod audit;
mod bench;
mod board;
mod cli;
mod config;
mod connect;
mod databases;
mod demo;
mod detach;
mod down;
mod embedded_broker;
mod home;
mod http;
mod jvm;
mod kafka;
mod order;
mod orders;
mod part;
mod ports;
mod postgres;
mod process;
mod program;
mod register;
mod relay_mode;
mod servers;
mod services;
mod sources;
mod stack;
mod status;
mod stop_signal;
mod supervisor;
mod system;
mod terminal;
mod tier;
mod trace;
mod up;
mod url;
mod web;

pub use cli::{Cli, run};
