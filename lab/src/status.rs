//! `lab status`, and what `up` says when the system runs already.

use anyhow::Context as _;
use lab_stack::home::Home;
use lab_stack::http;
use lab_stack::pid_file::PidFile;
use lab_terminal as terminal;

/// Prints each part and its state; success when all are ready.
pub(crate) async fn run(home: &Home) -> anyhow::Result<bool> {
    let Some(pid_file) = PidFile::load(home)? else {
        terminal::line("Nothing is running.");
        return Ok(false);
    };
    if !pid_file.supervisor.is_alive() {
        terminal::line("The lab was killed. What it has left running, for ./dev down to stop:");
        let left: Vec<_> = pid_file
            .parts
            .iter()
            .filter(|part| part.process.is_alive())
            .collect();
        for part in &left {
            terminal::part(&part.name, format_args!("pid {}", part.process.pid));
        }
        if left.is_empty() {
            terminal::line("  nothing");
        }
        return Ok(false);
    }
    let lab = pid_file
        .lab
        .context("processes.json does not say where the lab answers")?;
    let page = http::client()
        .get(format!("{lab}/status"))
        .send()
        .await?
        .text()
        .await?;
    terminal::line(page.trim_end());
    let is_ready = http::is_ok(&format!("{lab}/readyz")).await;
    Ok(is_ready)
}

/// Says that the system runs, and where.
pub(crate) async fn already_running(home: &Home) -> anyhow::Result<bool> {
    match PidFile::load(home)? {
        Some(pid_file) if pid_file.supervisor.is_alive() => {
            terminal::line(format_args!(
                "Already running (pid {}).",
                pid_file.supervisor.pid
            ));
            run(home).await?;
            Ok(true)
        }
        _ => anyhow::bail!("another command is starting or stopping the system here; try again"),
    }
}
