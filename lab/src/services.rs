//! `lab services`: a PostgreSQL, a Kafka and a Kafka Connect of its own for one command, fresh, and gone afterwards.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use lab_stack::home::Home;
use lab_stack::process::{self, Identity};
use lab_stack::program::{self, command};
use lab_stack::servers::Servers;
use lab_stack::servers::{FreshServers, GivenServers};
use lab_stack::sources::Durability;
use lab_stack::stop_signal::StopSignal;
use lab_terminal as terminal;
use lab_terminal::human;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tokio::process::Child;

/// How long the command has to end after a signal.
const COMMAND_STOP_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
pub(crate) struct Services {
    #[command(flatten)]
    given: GivenServers,
    /// The command and its arguments, after `--`
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Runs the command and returns its exit code, 128 and the signal's number if a signal ended it.
pub(crate) async fn run(home: &Home, services: Services) -> anyhow::Result<ExitCode> {
    let mut stop = StopSignal::catch()?;
    let mut fresh = FreshServers::begin(home).await?;
    // What the command starts and does not stop becomes this process's child, and so is found.
    nix::sys::prctl::set_child_subreaper(true).context("becoming the parent of orphans")?;
    let started = tokio::select! {
        started = fresh.servers(home, &services.given, Durability::None, true) => started.map(Some),
        _signal = stop.recv() => Ok(None),
    };
    let outcome = match started {
        Ok(Some(servers)) => with(&servers, &services.command, &mut stop).await,
        Ok(None) => Ok(ExitCode::FAILURE),
        Err(error) => Err(error),
    };
    fresh.end().await?;
    outcome
}

/// Runs the command to its end, or to a signal; afterwards, nothing that it has started runs.
async fn with(
    servers: &Servers,
    words: &[OsString],
    stop: &mut StopSignal,
) -> anyhow::Result<ExitCode> {
    let (program, arguments) = words.split_first().context("there is no command to run")?;
    let before = process::descendants(Pid::this().as_raw());
    let started_at = Instant::now();
    let child = command(Path::new(program), None)
        .args(arguments)
        .env("TEST_DATABASE_URL", &servers.database_url)
        .env("TEST_KAFKA_BROKERS", &servers.kafka_brokers)
        .envs(
            servers
                .connect_url
                .as_ref()
                .map(|url| ("TEST_CONNECT_URL", url)),
        )
        .spawn()
        .with_context(|| format!("starting {}", program.display()))?;
    let exit = wait(child, stop).await?;
    kill_what_is_left(&before).await;
    terminal::line(format_args!(
        "{} {} after {}",
        program.display(),
        program::describe(exit),
        human(started_at.elapsed())
    ));
    let code = exit
        .code()
        .or_else(|| exit.signal().map(|signal| 128 + signal))
        .unwrap_or(1);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

/// Waits for the command; a signal is passed on to its process group, and what does not end then is killed.
async fn wait(mut child: Child, stop: &mut StopSignal) -> anyhow::Result<ExitStatus> {
    let group = child
        .id()
        .and_then(|pid| pid.try_into().ok())
        .map(Pid::from_raw);
    let waiting = "waiting for the command";
    let signal = tokio::select! {
        exit = child.wait() => return exit.context(waiting),
        signal = stop.recv() => signal,
    };
    let pass_on = |signal: Signal| {
        if let Some(group) = group {
            process::signal_group(group, signal);
        }
    };
    pass_on(signal);
    if let Ok(exit) = tokio::time::timeout(COMMAND_STOP_WITHIN, child.wait()).await {
        return exit.context(waiting);
    }
    pass_on(Signal::SIGKILL);
    child.wait().await.context(waiting)
}

/// Kills the processes that the command has left behind: those of ours that were not there before it.
async fn kill_what_is_left(before: &[Identity]) {
    let servers: Vec<i32> = before.iter().map(|process| process.pid).collect();
    let ours = process::descendants(Pid::this().as_raw());
    // A server's own new children are its business.
    let servers: Vec<Identity> = servers
        .into_iter()
        .flat_map(process::descendants)
        .chain(before.iter().copied())
        .collect();
    for left in ours
        .into_iter()
        .filter(|process| !servers.contains(process))
    {
        terminal::line(format_args!(
            "the command left a process behind (pid {}); killing it",
            left.pid
        ));
        left.signal(Signal::SIGKILL);
        left.wait(Duration::from_secs(5)).await;
    }
}
