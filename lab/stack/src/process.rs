//! Processes of the operating system, identified by pid and start time: a pid alone may belong to a
//! stranger by the time it is signalled.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lab_terminal as terminal;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// One process, for as long as the machine is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub pid: i32,
    /// When it was started, in clock ticks since the machine was: field 22 of `/proc/<pid>/stat`.
    pub started: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Termination {
    /// It went when asked.
    Asked,
    /// It did not, and was killed.
    Killed,
}

impl Identity {
    /// The process that has this pid now, if it has not ended.
    pub fn of(pid: i32) -> Option<Self> {
        let stat = Stat::of(pid)?;
        // A zombie has ended; its parent may never collect it.
        (stat.state != 'Z' && stat.state != 'X').then_some(Self {
            pid,
            started: stat.started,
        })
    }

    /// This process.
    pub fn own() -> anyhow::Result<Self> {
        Self::of(Pid::this().as_raw())
            .ok_or_else(|| anyhow::anyhow!("/proc does not show this process"))
    }

    pub fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// CPU time used so far; none once it has ended.
    pub fn cpu(self) -> Cpu {
        let stat = Stat::of(self.pid).filter(|stat| stat.started == self.started);
        stat.map(|stat| stat.cpu).unwrap_or_default()
    }

    /// Bytes of memory that were resident at the peak, if the process still runs: `VmHWM` of `/proc/<pid>/status`.
    pub fn resident_peak_bytes(self) -> Option<u64> {
        self.memory_bytes("VmHWM:")
    }

    fn memory_bytes(self, which: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(which))?;
        let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
        self.is_alive().then_some(kib * 1_024)
    }

    /// Signals the process, if it still runs.
    pub fn signal(self, signal: Signal) {
        if self.is_alive() {
            complain(kill(Pid::from_raw(self.pid), signal));
        }
    }

    /// Signals the process and all its descendants: those of PostgreSQL are in process groups of their own.
    pub fn signal_all(self, signal: Signal) {
        for process in descendants(self.pid).into_iter().chain([self]) {
            process.signal(signal);
        }
    }

    /// Bytes of memory that are resident now, if it still runs: `VmRSS` of `/proc/<pid>/status`.
    pub fn resident_bytes(self) -> Option<u64> {
        self.memory_bytes("VmRSS:")
    }

    /// Waits until the process has ended, for at most `time`, and returns whether it has.
    pub async fn wait(self, time: Duration) -> bool {
        let gone = async {
            while self.is_alive() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(time, gone).await.is_ok()
    }

    /// Asks the process to end with `signal`, and kills it if it has not within `grace`.
    pub async fn end(self, signal: impl Into<Option<Signal>>, grace: Duration) -> Termination {
        if let Some(signal) = signal.into() {
            // A paused process would not hear it.
            self.signal_all(Signal::SIGCONT);
            self.signal(signal);
        }
        if self.wait(grace).await {
            return Termination::Asked;
        }
        self.signal(Signal::SIGKILL);
        self.wait(Duration::from_secs(5)).await;
        Termination::Killed
    }
}

/// Signals all processes of a group whose leader has not been waited for, so that the number is still theirs.
pub fn signal_group(leader: Pid, signal: Signal) {
    complain(killpg(leader, signal));
}

fn complain(signalled: nix::Result<()>) {
    match signalled {
        // It ended between the look and the signal: that is what was wanted.
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(errno) => {
            terminal::error(&anyhow::Error::new(errno).context("signalling a process"));
        }
    }
}

/// CPU time in user and kernel mode.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cpu {
    pub own: Duration,
    /// Of its children that have ended and were waited for, and of theirs.
    pub waited: Duration,
}

/// CPU time of a process and of all its descendants, also of those that have ended.
pub fn cpu_of_all(ancestor: Identity) -> Duration {
    let all = descendants(ancestor.pid);
    let all = all.into_iter().chain([ancestor]).map(Identity::cpu);
    all.map(|cpu| cpu.own + cpu.waited).sum()
}

/// Clock ticks a second in `/proc`: `USER_HZ`, which is the same on every architecture that is still in use.
const TICKS_PER_SECOND: u64 = 100;

/// What `/proc/<pid>/stat` says, as far as it is of interest.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: char,
    parent: i32,
    cpu: Cpu,
    started: u64,
}

impl Stat {
    fn of(pid: i32) -> Option<Self> {
        parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }
}

/// Reads a line of `/proc/<pid>/stat`, proc(5): the second field is the program's name in parentheses and
/// may itself contain spaces and parentheses.
fn parse_stat(line: &str) -> Option<Stat> {
    let (_, rest) = line.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    // Those above are the third and the fourth; these are the 14th to the 17th.
    let mut fields = fields.skip(9);
    let mut time = || {
        let [user, kernel] = [fields.next()?.parse::<u64>(), fields.next()?.parse::<u64>()];
        let ticks = user.ok()? + kernel.ok()?;
        Some(Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND))
    };
    let cpu = Cpu {
        own: time()?,
        waited: time()?,
    };
    // The 22nd.
    let started = fields.nth(4)?.parse().ok()?;
    Some(Stat {
        state,
        parent,
        cpu,
        started,
    })
}

/// All processes that run the program `name` in `folder` (a path without links), as far as this user may look.
pub fn running(name: &str, folder: &Path) -> Vec<Identity> {
    let runs = |process: &Identity| {
        let link = |what| std::fs::read_link(format!("/proc/{}/{what}", process.pid)).ok();
        // The kernel says so of a program that was replaced while it runs.
        let replaced = format!("{name} (deleted)");
        let is_program = |program: PathBuf| {
            let file = program.file_name();
            file.is_some_and(|file| file == name || file == replaced.as_str())
        };
        link("exe").is_some_and(is_program) && link("cwd").is_some_and(|cwd| cwd == folder)
    };
    all().filter(runs).collect()
}

fn all() -> impl Iterator<Item = Identity> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| Identity::of(entry.ok()?.file_name().to_str()?.parse().ok()?))
}

/// All processes that descend from `ancestor` and have not ended, parents before children.
pub fn descendants(ancestor: i32) -> Vec<Identity> {
    let all: Vec<(Identity, i32)> = all()
        .filter_map(|process| Some((process, Stat::of(process.pid)?.parent)))
        .collect();
    let mut found = Vec::new();
    let mut parents = vec![ancestor];
    while let Some(parent) = parents.pop() {
        for (process, _) in all.iter().filter(|(_, of)| *of == parent) {
            found.push(*process);
            parents.push(process.pid);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_may_contain_parentheses_and_spaces() {
        let line = "4242 (a (b) c) S 17 4242 4242 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1000 10 \
                    18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0";
        let stat = Stat {
            state: 'S',
            parent: 17,
            cpu: Cpu {
                own: Duration::from_millis(110),
                waited: Duration::from_millis(150),
            },
            started: 987_654,
        };
        assert_eq!(parse_stat(line), Some(stat));
        assert_eq!(parse_stat("4242 (cut off"), None);
        assert_eq!(parse_stat("4242 (cut off) S 17"), None);
    }

    #[test]
    fn another_process_with_the_same_pid_is_not_the_same_process() {
        let own = Identity::own().unwrap();
        let stranger = Identity {
            started: own.started + 1,
            ..own
        };
        assert!(own.is_alive());
        assert!(!stranger.is_alive());
    }
}
