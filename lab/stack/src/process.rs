//! Processes of the operating system, identified by pid and start time: a pid alone may belong to a
//! stranger by the time it is signalled.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lab_terminal as terminal;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use procfs::process::{Process, Stat, Status, all_processes};
use serde::{Deserialize, Serialize};

/// One process, for as long as the machine is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub pid: i32,
    /// When it was started, in clock ticks since the machine was.
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
        let stat = stat(pid)?;
        // A zombie has ended; its parent may never collect it.
        (stat.state != 'Z' && stat.state != 'X').then_some(Self {
            pid,
            started: stat.starttime,
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

    /// Whether all its threads stand still after a SIGSTOP: a thread that runs takes a moment to notice it.
    pub fn is_paused(self) -> bool {
        let threads = Process::new(self.pid).and_then(|process| process.tasks());
        let mut threads = threads.into_iter().flatten().flatten();
        // A thread that has no state has ended.
        let all_stand_still =
            threads.all(|thread| thread.stat().ok().is_none_or(|stat| stat.state == 'T'));
        self.is_alive() && all_stand_still
    }

    /// CPU time used so far; none once it has ended.
    pub fn cpu(self) -> Cpu {
        let stat = stat(self.pid).filter(|stat| stat.starttime == self.started);
        stat.map(|stat| Cpu::of(&stat)).unwrap_or_default()
    }

    /// Bytes of memory that were resident at the peak, if the process still runs.
    pub fn resident_peak_bytes(self) -> Option<u64> {
        self.memory_bytes(|status| status.vmhwm)
    }

    /// Bytes of memory that are resident now, if the process still runs.
    pub fn resident_bytes(self) -> Option<u64> {
        self.memory_bytes(|status| status.vmrss)
    }

    fn memory_bytes(self, kib: impl FnOnce(Status) -> Option<u64>) -> Option<u64> {
        let status = Process::new(self.pid).and_then(|process| process.status());
        let kib = kib(status.ok()?)?;
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

impl Cpu {
    fn of(stat: &Stat) -> Self {
        let time = |ticks: u64| Duration::from_millis(ticks * 1_000 / procfs::ticks_per_second());
        let waited = (stat.cutime + stat.cstime).max(0).unsigned_abs();
        Self {
            own: time(stat.utime + stat.stime),
            waited: time(waited),
        }
    }
}

fn stat(pid: i32) -> Option<Stat> {
    Process::new(pid).ok()?.stat().ok()
}

/// All processes that run the program `name` in `folder` (a path without links), as far as this user may look.
pub fn running(name: &str, folder: &Path) -> Vec<Identity> {
    let runs = |process: &Process| {
        // The kernel says so of a program that was replaced while it runs.
        let replaced = format!("{name} (deleted)");
        let is_program = |program: PathBuf| {
            let file = program.file_name();
            file.is_some_and(|file| file == name || file == replaced.as_str())
        };
        process.exe().is_ok_and(is_program) && process.cwd().is_ok_and(|cwd| cwd == folder)
    };
    let running = all().filter(runs);
    running
        .filter_map(|process| Identity::of(process.pid))
        .collect()
}

fn all() -> impl Iterator<Item = Process> {
    all_processes().into_iter().flatten().flatten()
}

/// All processes that descend from `ancestor` and have not ended, parents before children.
pub fn descendants(ancestor: i32) -> Vec<Identity> {
    let all: Vec<(Identity, i32)> = all()
        .filter_map(|process| Some((Identity::of(process.pid)?, process.stat().ok()?.ppid)))
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
        let program = std::env::temp_dir().join(format!("a (b) {}", std::process::id()));
        std::os::unix::fs::symlink("/bin/sleep", &program).unwrap();
        let mut child = std::process::Command::new(&program)
            .arg("600")
            .spawn()
            .unwrap();
        let pid = child.id().try_into().unwrap();
        let process = Identity::of(pid).unwrap();
        let own = Identity::own().unwrap();
        assert!(process.started >= own.started && process.resident_bytes().is_some());
        assert!(descendants(own.pid).contains(&process));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(Identity::of(pid), None);
        std::fs::remove_file(program).unwrap();
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
