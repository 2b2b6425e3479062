//! Runs the whole system on this machine, without containers: PostgreSQL, Kafka and every service.
//!
//! Promises: whatever it starts it also stops, in order and in bounded time, also when it was killed
//! itself and comes back; it never ends a process that it did not start; a process that dies is
//! started again, visibly. The services are processes to it: it imports none of their internals.
//!
//! This crate is the command line. `lab-stack` owns the processes, `audit` tells what became of the payments, `lab-bench`
//! measures, `lab-page` serves the page.

mod cli;
mod demo;
mod detach;
mod down;
mod relay;
mod services;
mod source_flags;
mod status;
mod up;

pub use cli::{Cli, run};
