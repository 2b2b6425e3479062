//! A part of the system, as data: what to run, how to see that it is ready, how to stop it.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use chassis::kafka::Probe;
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid};
use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};

use crate::http;
use crate::log_file::LogFile;

/// Which parts stand on which: what depends on others is started after them and stopped before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Tier {
    /// One of our services.
    Service,
    /// Kafka Connect.
    Connect,
    /// Kafka.
    Broker,
    /// PostgreSQL.
    Database,
}

impl Tier {
    /// The order to stop in.
    pub(crate) const STOPPING: [Self; 4] =
        [Self::Service, Self::Connect, Self::Broker, Self::Database];

    /// What asks a part to end: for PostgreSQL its fast shutdown, which does not wait for clients.
    pub(crate) const fn stop_signal(self) -> Signal {
        match self {
            Self::Service | Self::Connect | Self::Broker => Signal::SIGTERM,
            Self::Database => Signal::SIGINT,
        }
    }

    /// How long a part has to end before it is killed. Services promise 10 s.
    pub(crate) const fn stop_within(self) -> Duration {
        match self {
            Self::Service => Duration::from_secs(11),
            Self::Connect | Self::Broker | Self::Database => Duration::from_secs(20),
        }
    }
}

/// How to see that a part is ready.
#[derive(Debug, Clone)]
pub(crate) enum Ready {
    /// This URL answers with success.
    Http(String),
    /// A connection to this URL can be made.
    Postgres(String),
    /// One of these brokers answers.
    Kafka(String),
}

impl Ready {
    /// Waits for it, without a limit.
    pub(crate) async fn wait(&self) -> anyhow::Result<()> {
        let probe = match self {
            Self::Kafka(brokers) => Some(Probe::new(brokers, "lab")?),
            Self::Http(_) | Self::Postgres(_) => None,
        };
        loop {
            let is_ready = match (self, &probe) {
                (Self::Http(url), _) => http::is_ok(url).await,
                (Self::Postgres(url), _) => chassis::database::connect(url, "lab").await.is_ok(),
                (Self::Kafka(_), Some(probe)) => probe.clone().check().await.is_ok(),
                (Self::Kafka(_), None) => false,
            };
            if is_ready {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Another user of the machine, to run a program as.
#[derive(Debug, Clone, Copy)]
pub(crate) struct User {
    /// Its number.
    pub uid: Uid,
    /// The number of its group.
    pub gid: Gid,
}

/// A process of the system.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// Its name in the status, in `stack.json` and of its log.
    pub name: String,
    /// When to stop it.
    pub tier: Tier,
    /// Where it listens: a base URL or host:port.
    pub address: String,
    /// What to run.
    pub program: PathBuf,
    /// The program's arguments.
    pub args: Vec<String>,
    /// Variables besides the inherited environment.
    pub env: Vec<(&'static str, String)>,
    /// Who to run it as, if not the user of this process.
    pub user: Option<User>,
    /// How to see that it is ready.
    pub ready: Ready,
    /// How long that may take.
    pub ready_within: Duration,
}

impl Part {
    /// Starts the process. It is not killed when the handle is dropped: the supervisor ends it.
    pub(crate) fn spawn(&self, log: &LogFile) -> anyhow::Result<Child> {
        let mut command = command(&self.program, self.user);
        command.args(&self.args).envs(self.env.clone());
        log_to(&mut command, log)?;
        command
            .spawn()
            .with_context(|| format!("starting {}", self.program.display()))
    }
}

/// A command with nothing to read, in a process group of its own, so that Ctrl-C in the terminal reaches
/// the lab only, in a folder that every user may enter.
pub(crate) fn command(program: impl Into<PathBuf>, user: Option<User>) -> Command {
    let mut command = Command::new(program.into());
    command.stdin(Stdio::null()).process_group(0);
    if let Some(user) = user {
        command
            .uid(user.uid.as_raw())
            .gid(user.gid.as_raw())
            .current_dir("/");
    }
    command
}

/// Runs a command to its end, which is awaited with it: dropped, it is killed.
pub(crate) async fn run_to_end(
    what: &str,
    mut command: Command,
    log: &LogFile,
) -> anyhow::Result<()> {
    log_to(&mut command, log)?;
    let exit = command.kill_on_drop(true).status().await.with_context(|| {
        format!(
            "{what}: starting {}",
            command.as_std().get_program().display()
        )
    })?;
    if !exit.success() {
        anyhow::bail!("{what} {}; {}", crate::process::describe(exit), log.tail());
    }
    Ok(())
}

fn log_to(command: &mut Command, log: &LogFile) -> anyhow::Result<()> {
    let file = log.open()?;
    let same = file.try_clone().context("opening the log twice")?;
    command.stdout(file).stderr(same);
    Ok(())
}
