//! Commands to the running system.

use std::fmt;

use tokio::sync::{mpsc, oneshot};

use crate::relay_mode::RelayMode;

/// The header with the token of `processes.json`: another page in the same browser does not know it.
pub const TOKEN_HEADER: &str = "x-lab-token";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Stop the relays and start them in this mode.
    RelayMode(RelayMode),
    /// Stop this part until it is told to start.
    Stop(String),
    /// Start this part, which was stopped.
    Start(String),
    /// Stop this part and start it.
    Restart(String),
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RelayMode(mode) => write!(f, "switching the relays to {mode}"),
            Self::Stop(name) => write!(f, "stopping {name}"),
            Self::Start(name) => write!(f, "starting {name}"),
            Self::Restart(name) => write!(f, "restarting {name}"),
        }
    }
}

/// A command, and where its outcome is awaited.
pub type CommandRequest = (Command, oneshot::Sender<anyhow::Result<()>>);

/// The sender gives commands; the receiver carries them out.
pub fn channel() -> (mpsc::Sender<CommandRequest>, mpsc::Receiver<CommandRequest>) {
    mpsc::channel(1)
}
