//! What the running system is told to do: orders come by HTTP and are carried out one at a time by the process that
//! owns the parts.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use crate::config::RelayMode;
use crate::home::Home;
use crate::register::Register;
use crate::terminal::human;
use crate::{http, terminal};

/// The header with the token of `processes.json`: another page in the same browser does not know it.
pub(crate) const TOKEN_HEADER: &str = "x-lab-token";

/// How long an order may take: Kafka Connect may have to be started.
const WITHIN: Duration = Duration::from_secs(180);

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    /// Stop the relays and start them in this mode.
    RelayMode(RelayMode),
    /// Stop this part until it is told to start.
    Stop(String),
    /// Start this part, which was stopped.
    Start(String),
    /// Stop this part and start it.
    Restart(String),
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RelayMode(mode) => write!(f, "switching the relays to {mode}"),
            Self::Stop(name) => write!(f, "stopping {name}"),
            Self::Start(name) => write!(f, "starting {name}"),
            Self::Restart(name) => write!(f, "restarting {name}"),
        }
    }
}

/// An order, and where its outcome is awaited.
pub(crate) type Ordered = (Order, oneshot::Sender<anyhow::Result<()>>);

/// Gives orders; the receiver carries them out.
pub(crate) fn channel() -> (mpsc::Sender<Ordered>, mpsc::Receiver<Ordered>) {
    mpsc::channel(1)
}

/// `lab relay MODE`: has the running lab carry it out.
pub(crate) async fn switch_relays(home: &Home, mode: RelayMode) -> anyhow::Result<()> {
    let register = Register::load(home)?.filter(|register| register.supervisor.is_alive());
    let register = register.context("nothing is running: RELAY_MODE=... ./dev up")?;
    let lab = register
        .lab
        .context("processes.json does not say where the lab answers")?;
    let begun = Instant::now();
    let answer = http::client()
        .put(format!("{lab}/api/relay-mode"))
        .timeout(WITHIN)
        .header(TOKEN_HEADER, register.token)
        .json(&json!({ "mode": mode }))
        .send()
        .await
        .context("asking the lab")?;
    if !answer.status().is_success() {
        let problem: serde_json::Value = answer.json().await.context("asking the lab")?;
        let why = problem.get("detail").and_then(|detail| detail.as_str());
        anyhow::bail!("{}", why.unwrap_or("the lab does not say why"));
    }
    let took = human(begun.elapsed());
    terminal::line(format_args!("The relays run in mode {mode}. ({took})"));
    Ok(())
}
