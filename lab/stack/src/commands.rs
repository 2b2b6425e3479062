//! Commands to the running system.

use tokio::sync::{mpsc, oneshot};

use crate::relay_mode::RelayMode;

/// The header with the token of `processes.json`: another page in the same browser does not know it.
pub const TOKEN_HEADER: &str = "x-lab-token";

#[derive(Debug, Clone, PartialEq, Eq, strum::Display)]
pub enum Command {
    /// Stop the relays and start them in this mode.
    #[strum(to_string = "switching the relays to {0}")]
    RelayMode(RelayMode),
    /// Stop this process until it is told to start.
    #[strum(to_string = "stopping {0}")]
    Stop(String),
    /// Start this process, which was stopped.
    #[strum(to_string = "starting {0}")]
    Start(String),
    /// Stop this process and start it.
    #[strum(to_string = "restarting {0}")]
    Restart(String),
}

/// A command, and where its outcome is awaited.
pub type CommandRequest = (Command, oneshot::Sender<anyhow::Result<()>>);

/// The sender gives commands; the receiver carries them out.
pub fn channel() -> (mpsc::Sender<CommandRequest>, mpsc::Receiver<CommandRequest>) {
    mpsc::channel(1)
}
