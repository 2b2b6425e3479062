//! The order in which processes are stopped, and how.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

/// The order to stop in: a process is stopped before those that it depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShutdownOrder {
    Service,
    /// Kafka Connect.
    Connect,
    /// Kafka.
    Broker,
    /// PostgreSQL.
    Database,
}

impl ShutdownOrder {
    /// The order to stop in.
    pub const STOPPING: [Self; 4] = [Self::Service, Self::Connect, Self::Broker, Self::Database];

    /// What asks a part to end: for PostgreSQL its fast shutdown, which does not wait for clients.
    pub const fn stop_signal(self) -> Signal {
        match self {
            Self::Service | Self::Connect | Self::Broker => Signal::SIGTERM,
            Self::Database => Signal::SIGINT,
        }
    }

    /// How long a part has to end before it is killed. Services promise 10 s.
    pub const fn stop_within(self) -> Duration {
        match self {
            Self::Service => Duration::from_secs(11),
            Self::Connect | Self::Broker | Self::Database => Duration::from_secs(20),
        }
    }
}
