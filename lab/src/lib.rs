//! Runs the whole system on this machine, without containers: PostgreSQL, Kafka and every service.
//!
//! Promises: the lab stops every process that it starts, in order and in bounded time; the next command stops those
//! of a lab that was killed. It never ends a process that it did not start. A process that dies is restarted, and the
//! status shows it. The services are processes to the lab: it imports none of their internals.
//!
//! This crate is the command line. `lab-stack` owns the processes, `audit` tells what became of the payments, `lab-bench`
//! measures, `lab-page` serves the page.

mod cli;
mod demo;
mod detach;
mod down;
mod relay;
mod services;
mod settings_in_force;
mod source_flags;
mod status;
mod up;

pub use cli::run;
