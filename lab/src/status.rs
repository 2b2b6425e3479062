//! `lab status`, and what `up` says when the system runs already.

use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::join_all;
use lab_stack::home::Home;
use lab_stack::http;
use lab_stack::pid_file::PidFile;
use lab_stack::relay_mode::RelayMode;
use lab_stack::scrape::Scrape;
use lab_stack::stack::Stack;
use lab_stack::system;
use lab_terminal as terminal;

use crate::settings_in_force::{self, Setting};

/// Prints how the system runs, and each process and its state; success when all are ready.
pub(crate) async fn run(home: &Home) -> anyhow::Result<bool> {
    // Nothing runs, or only what a killed lab has left.
    let Some(pid_file) = PidFile::load(home)? else {
        anyhow::ensure!(home.lock()?.is_some(), "{}", busy(home));
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

    // How it runs.
    let lab = pid_file
        .lab
        .context("processes.json does not say where the lab answers")?;
    terminal::line(format_args!("The page: {lab}"));
    let stack = Stack::load(home)?;
    if let Some(stack) = &stack {
        let pattern = pid_file.settings.get("PAY_PATTERN");
        let pattern = pattern.map_or("unknown", String::as_str);
        terminal::line(format_args!(
            "Relay mode {}, pay pattern {pattern}.\n",
            stack.relay_mode
        ));
    }

    // Its processes.
    let table = http::client().get(format!("{lab}/status")).send().await;
    let table = table
        .with_context(|| format!("the lab (pid {}) does not answer", pid_file.supervisor.pid))?;
    terminal::line(table.text().await?.trim_end());
    if let Some(stack) = &stack {
        terminal::line("");
        let relays = stack.relays.iter().zip(0..);
        let duties = join_all(relays.map(|(relay, nth)| duty(stack.relay_mode, relay, nth)));
        for (name, duty) in duties.await {
            terminal::part(&name, duty);
        }
    }
    Ok(http::is_ok(&format!("{lab}/readyz")).await)
}

/// How long a relay may take to tell its metrics.
const METRICS_WITHIN: Duration = Duration::from_secs(5);

/// The relay's name, and whether it works or stands by, as its metrics say.
async fn duty(mode: RelayMode, relay: &str, nth: u16) -> (String, String) {
    let metrics = Scrape::of(relay, METRICS_WITHIN).await;
    let duty = match mode {
        _ if metrics.is_down() => "does not answer".to_owned(),
        _ if !http::is_ok(&format!("{relay}/readyz")).await => {
            format!("can't work: {relay}/readyz says why")
        }
        RelayMode::Poller => match metrics.sum("relay_shards_held", &[]) {
            Some(shards @ 1..) => format!("works on {shards} shards of keys"),
            _ => "stands by: it holds no shard".to_owned(),
        },
        RelayMode::Cdc | RelayMode::Debezium => match metrics.sum("relay_active", &[]) {
            Some(1..) => "works".to_owned(),
            _ => "stands by".to_owned(),
        },
    };
    (system::relay_name(nth), duty)
}

/// Says that the system runs, and where; an error if it does not run as `asked`.
pub(crate) async fn already_running(home: &Home, asked: &[Setting]) -> anyhow::Result<bool> {
    let pid_file = PidFile::load(home)?.filter(|pid_file| pid_file.supervisor.is_alive());
    let Some(mut pid_file) = pid_file else {
        anyhow::bail!("{}", busy(home));
    };
    let pid = pid_file.supervisor.pid;
    // The relays may run in another mode by now.
    if let Some(stack) = Stack::load(home)? {
        let mode = stack.relay_mode.to_string();
        pid_file.settings.insert("RELAY_MODE".to_owned(), mode);
    }
    let differences = settings_in_force::differences(asked, &pid_file.settings);
    if differences.is_empty() {
        terminal::line(format_args!("Already running (pid {pid})."));
        run(home).await?;
        return Ok(true);
    }
    anyhow::bail!(
        "the system runs already (pid {pid}), and not as you ask:\n  {}\n\
         To start it with other settings, stop it first: ./dev down",
        differences.join("\n  ")
    );
}

/// What to say when the home is locked, and no running lab is known.
pub(crate) fn busy(home: &Home) -> String {
    let pid = home.locked_by();
    let pid = pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
    format!(
        "another command{pid} is starting or stopping the system here, or the system runs and its processes.json was \
         removed; try again, or stop it with ./dev down"
    )
}
