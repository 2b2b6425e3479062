//! The state of each process: shown on the terminal, over HTTP, in `processes.json` and in `stack.json`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use lab_terminal as terminal;
use lab_terminal::human;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, MutexGuard};

use crate::commands::Command;
use crate::home::{self, Home};
use crate::pid_file::{PidFile, Record};
use crate::process::{self, Identity};
use crate::process_spec::ProcessSpec;
use crate::shutdown_order::ShutdownOrder;
use crate::stack::Stack;

#[derive(Debug, Clone, PartialEq, Eq, strum::Display)]
#[strum(serialize_all = "snake_case")]
pub enum State {
    Starting,
    /// It passes its readiness check.
    Ready,
    /// It died, in this way, and will be restarted.
    Restarting(String),
    Paused,
    /// It was asked to end.
    Stopping,
    /// It has ended, or has died before it ever was ready.
    Stopped,
    /// Not a process of ours, with what it is instead.
    #[strum(to_string = "{0}")]
    NotOurs(&'static str),
}

#[derive(Debug, Clone, Serialize)]
pub struct ProcessView {
    pub name: String,
    /// `service` or `server`.
    pub kind: &'static str,
    /// A [`State`], in a word.
    pub state: String,
    pub detail: String,
    /// A base URL or host:port.
    pub address: String,
    pub pid: Option<i32>,
    pub restarts: u32,
    /// Resident now.
    pub memory_bytes: Option<u64>,
    pub actions: &'static [Action],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// kill -9; it is restarted.
    Kill,
    /// Stops its processes (SIGSTOP); they notice nothing.
    Pause,
    Resume,
    /// It is stopped in good order, and started again.
    Restart,
    /// It is stopped in good order, and stays so.
    Stop,
    /// It is started again.
    Start,
}

impl State {
    const fn actions(&self) -> &'static [Action] {
        match self {
            Self::Ready => &[Action::Kill, Action::Pause, Action::Restart, Action::Stop],
            Self::Paused => &[Action::Kill, Action::Resume, Action::Restart, Action::Stop],
            Self::Starting | Self::Restarting(_) => &[Action::Stop],
            Self::Stopped => &[Action::Start],
            Self::Stopping | Self::NotOurs(_) => &[],
        }
    }
}

#[derive(Debug)]
struct Status {
    name: String,
    address: String,
    is_server: bool,
    state: State,
    since: Instant,
    restarts: u32,
    process: Option<Record>,
}

#[derive(Debug)]
struct Inner {
    home: Home,
    pid_file: PidFile,
    parts: Vec<Status>,
    stack: Option<Stack>,
    busy: Option<Command>,
}

/// The states of all processes, shared by whoever changes or shows them.
#[derive(Debug, Clone)]
pub struct ProcessTable {
    inner: Arc<Mutex<Inner>>,
}

impl ProcessTable {
    /// An empty table; it saves `pid_file` in `home`.
    pub fn new(home: Home, pid_file: PidFile) -> anyhow::Result<Self> {
        pid_file.save(&home)?;
        let inner = Inner {
            home,
            pid_file,
            parts: Vec::new(),
            stack: None,
            busy: None,
        };
        Ok(Self {
            inner: Arc::new(Mutex::new(inner)),
        })
    }

    pub async fn parts(&self) -> Vec<ProcessView> {
        let inner = self.inner.lock().await;
        inner.parts.iter().map(Status::view).collect()
    }

    pub async fn part(&self, name: &str) -> Option<ProcessView> {
        let inner = self.inner.lock().await;
        let part = inner.parts.iter().find(|part| part.name == name);
        part.map(Status::view)
    }

    /// Pauses the processes, resumes them, or kills them.
    pub async fn signal(&self, name: &str, action: Action) -> anyhow::Result<()> {
        let mut inner = self.inner.lock().await;
        let part = inner.parts.iter_mut().find(|part| part.name == name);
        let part = part.with_context(|| format!("there is no part {name}"))?;
        let process = part.process.as_ref().map(|record| record.process);
        let process = process.filter(|_| part.state.actions().contains(&action));
        let process = process.with_context(|| format!("{name} is {}", part.state))?;
        match action {
            Action::Kill => {
                // Paused ones would not notice that it is gone, and hold what it held.
                let others = process::descendants(process.pid);
                process.signal(Signal::SIGKILL);
                for other in others {
                    other.signal(Signal::SIGCONT);
                }
            }
            Action::Pause => {
                process.signal_all(Signal::SIGSTOP);
                part.set(State::Paused);
            }
            Action::Resume => {
                process.signal_all(Signal::SIGCONT);
                part.set(State::Ready);
            }
            Action::Restart | Action::Stop | Action::Start => {
                anyhow::bail!("that is not done by a signal")
            }
        }
        Ok(())
    }

    pub async fn token(&self) -> String {
        self.inner.lock().await.pid_file.token.clone()
    }

    /// Adds a server that is used and was not started here.
    pub async fn not_ours(&self, name: &str, address: &str, what: &'static str) {
        let mut inner = self.inner.lock().await;
        inner.part(name, address, true).state = State::NotOurs(what);
        terminal::part(name, format_args!("{what:<10} {address}"));
    }

    /// Adds processes to the table before they are started, all at once.
    pub async fn announce(&self, parts: &[ProcessSpec]) {
        let mut inner = self.inner.lock().await;
        for part in parts {
            inner.of(part).set(State::Starting);
        }
    }

    /// Records that a process was started. When this returns, a later command can find it.
    pub async fn started(&self, part: &ProcessSpec, process: Identity) {
        let mut inner = self.inner.lock().await;
        let status = inner.of(part);
        status.set(State::Starting);
        status.process = Some(Record {
            name: part.name.clone(),
            shutdown_order: part.shutdown_order,
            process,
        });
        inner.save();
    }

    /// Records that a process is ready, `took` after its start.
    pub async fn ready(&self, part: &ProcessSpec, took: Duration) {
        let mut inner = self.inner.lock().await;
        let status = inner.of(part);
        status.set(State::Ready);
        let took = human(took);
        terminal::part(
            &part.name,
            format_args!("{:<10} {}  {took}", "ready", part.address),
        );
    }

    /// Records that a process has died and will be restarted after `wait`.
    pub async fn died(&self, part: &ProcessSpec, how: &str, wait: Duration) {
        let mut inner = self.inner.lock().await;
        let status = inner.of(part);
        status.set(State::Restarting(how.to_owned()));
        status.restarts += 1;
        status.process = None;
        terminal::line(format_args!(
            "  {} {how}; restarting in {}",
            part.name,
            human(wait)
        ));
        inner.save();
    }

    pub async fn stopping(&self, part: &ProcessSpec) {
        let mut inner = self.inner.lock().await;
        inner.of(part).set(State::Stopping);
    }

    pub async fn stopped(&self, part: &ProcessSpec, remark: &str) {
        let mut inner = self.inner.lock().await;
        let status = inner.of(part);
        status.set(State::Stopped);
        status.process = None;
        terminal::part(&part.name, format_args!("stopped{remark}"));
        inner.save();
    }

    /// Removes a stopped process from the table.
    pub async fn forget(&self, name: &str) {
        self.inner
            .lock()
            .await
            .parts
            .retain(|part| part.name != name);
    }

    /// Writes `stack.json`, and again whenever a process changes.
    pub async fn publish(&self, stack: Stack) {
        let mut inner = self.inner.lock().await;
        inner.stack = Some(stack);
        inner.save();
    }

    /// The running system, once all processes have been ready.
    pub async fn stack(&self) -> Option<Stack> {
        let inner = self.inner.lock().await;
        inner.stack.as_ref().map(|stack| inner.with_pids(stack))
    }

    /// Sets the command that is being carried out.
    pub async fn set_busy(&self, with: Option<Command>) {
        self.inner.lock().await.busy = with;
    }

    pub async fn busy(&self) -> Option<Command> {
        self.inner.lock().await.busy.clone()
    }

    pub async fn processes(&self) -> Vec<(String, Identity)> {
        let inner = self.inner.lock().await;
        let running = inner.parts.iter().filter_map(|part| part.process.as_ref());
        running
            .map(|record| (record.name.clone(), record.process))
            .collect()
    }

    /// How many times processes have died and were restarted.
    pub async fn restarts(&self) -> u32 {
        let inner = self.inner.lock().await;
        inner.parts.iter().map(|part| part.restarts).sum()
    }

    /// Names the processes that are not ready; an error too while the system is starting.
    pub async fn check(&self) -> anyhow::Result<()> {
        let inner = self.inner.lock().await;
        anyhow::ensure!(inner.stack.is_some(), "the system is starting");
        let down: Vec<&str> = inner
            .parts
            .iter()
            .filter(|part| !matches!(part.state, State::Ready | State::NotOurs(_)))
            .map(|part| part.name.as_str())
            .collect();
        anyhow::ensure!(down.is_empty(), "not ready: {}", down.join(", "));
        Ok(())
    }

    pub async fn page(&self) -> String {
        let inner = self.inner.lock().await;
        page(&inner)
    }
}

fn page(inner: &MutexGuard<'_, Inner>) -> String {
    let mut text = format!(
        "{:<16} {:<11} {:>7} {:>11} {:>8}  {}\n",
        "part", "state", "pid", "since", "restarts", "address"
    );
    for part in &inner.parts {
        let pid = part
            .process
            .as_ref()
            .map_or_else(|| "-".to_owned(), |record| record.process.pid.to_string());
        let why = match &part.state {
            State::Restarting(how) => format!("  ({how})"),
            _ => String::new(),
        };
        text.push_str(&format!(
            "{:<16} {:<11} {pid:>7} {:>11} {:>8}  {}{why}\n",
            part.name,
            part.state.to_string(),
            human(part.since.elapsed()),
            part.restarts,
            part.address,
        ));
    }
    text
}

impl Status {
    fn view(&self) -> ProcessView {
        let process = self.process.as_ref().map(|record| record.process);
        ProcessView {
            name: self.name.clone(),
            kind: if self.is_server { "server" } else { "service" },
            state: self.state.to_string(),
            detail: match &self.state {
                State::Restarting(how) => how.clone(),
                _ => String::new(),
            },
            address: self.address.clone(),
            pid: process.map(|process| process.pid),
            restarts: self.restarts,
            memory_bytes: process.and_then(Identity::resident_bytes),
            actions: self.state.actions(),
        }
    }

    fn set(&mut self, state: State) {
        self.state = state;
        self.since = Instant::now();
    }
}

impl Inner {
    /// The status of a process; processes stay in the order in which they first appeared.
    fn part(&mut self, name: &str, address: &str, is_server: bool) -> &mut Status {
        let place = self.parts.iter().position(|part| part.name == name);
        let place = place.unwrap_or_else(|| {
            self.parts.push(Status {
                name: name.to_owned(),
                address: address.to_owned(),
                is_server,
                state: State::Starting,
                since: Instant::now(),
                restarts: 0,
                process: None,
            });
            self.parts.len() - 1
        });
        self.parts.get_mut(place).expect("found or just pushed")
    }

    fn of(&mut self, part: &ProcessSpec) -> &mut Status {
        self.part(
            &part.name,
            &part.address,
            part.shutdown_order != ShutdownOrder::Service,
        )
    }

    fn with_pids(&self, stack: &Stack) -> Stack {
        let mut stack = stack.clone();
        let running = self.parts.iter().filter_map(|part| part.process.as_ref());
        stack.pids = running
            .map(|record| (record.name.clone(), record.process.pid))
            .chain([("lab".to_owned(), self.pid_file.supervisor.pid)])
            .collect();
        stack
    }

    /// Writes both files. A full disk must not stop the system, so an error is only printed.
    fn save(&mut self) {
        self.pid_file.parts = self
            .parts
            .iter()
            .filter_map(|part| part.process.clone())
            .collect();
        let saved = self
            .pid_file
            .save(&self.home)
            .and_then(|()| match &self.stack {
                Some(stack) => {
                    home::write_atomically(&self.home.stack(), &self.with_pids(stack).to_json())
                }
                None => Ok(()),
            });
        if let Err(error) = saved {
            terminal::error(&error);
        }
    }
}
