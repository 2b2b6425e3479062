//! `lab relay`: has the running lab restart the relays in another mode.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use lab_stack::commands::TOKEN_HEADER;
use lab_stack::home::Home;
use lab_stack::http;
use lab_stack::pid_file::PidFile;
use lab_stack::relay_mode::RelayMode;
use lab_terminal as terminal;
use lab_terminal::human;
use serde_json::json;

/// How long an order may take: Kafka Connect may have to be started.
const WITHIN: Duration = Duration::from_secs(180);

/// `lab relay MODE`: has the running lab carry it out.
pub(crate) async fn switch(home: &Home, mode: RelayMode) -> anyhow::Result<bool> {
    let pid_file = PidFile::load(home)?.filter(|pid_file| pid_file.supervisor.is_alive());
    let pid_file = pid_file.context("nothing is running: RELAY_MODE=... ./dev up")?;
    let lab = pid_file
        .lab
        .context("processes.json does not say where the lab answers")?;
    let begun = Instant::now();
    let answer = http::client()
        .put(format!("{lab}/api/relay-mode"))
        .timeout(WITHIN)
        .header(TOKEN_HEADER, pid_file.token)
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
    Ok(true)
}
