//! What the running system is told to do: orders come by HTTP and are carried out one at a time by the process that
//! owns the parts.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::json;

use crate::home::Home;
use crate::order::TOKEN_HEADER;
use crate::register::Register;
use crate::relay_mode::RelayMode;
use crate::terminal::human;
use crate::{http, terminal};

/// How long an order may take: Kafka Connect may have to be started.
const WITHIN: Duration = Duration::from_secs(180);

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
