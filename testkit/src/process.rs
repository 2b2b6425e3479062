//! Real processes, to be killed for real.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A binary of this workspace, running; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts the workspace's binary `name`, or the one with that absolute path, with these environment variables and no others but `PATH`.
    #[must_use]
    pub fn start(name: &str, environment: &[(&str, &str)]) -> Self {
        let binary = binary(name);
        let child = Command::new(&binary)
            .env_clear()
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "{} does not start ({error}): cargo build --workspace makes it",
                    binary.display()
                )
            });
        Self { child }
    }

    /// The same, and everything that it writes goes to the file `log`.
    #[must_use]
    pub fn start_logging(name: &str, environment: &[(&str, &str)], log: &Path) -> Self {
        let log = File::create(log).expect("the log can be written");
        let child = command(name, environment)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be opened twice"))
            .stderr(log)
            .spawn()
            .expect("the workspace's binaries are built");
        Self { child }
    }

    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills the process with SIGKILL and waits until it is gone.
    pub fn kill_9(mut self) {
        self.child.kill().expect("the process was running");
        self.child.wait().expect("the process is reaped");
    }

    /// Sends SIGTERM and does not wait.
    pub fn terminate(&self) {
        let id = i32::try_from(self.child.id()).expect("a process id fits");
        kill(Pid::from_raw(id), Signal::SIGTERM).expect("the process is running");
    }

    /// Waits for the process to end by itself.
    #[must_use]
    pub fn wait(mut self) -> ExitStatus {
        self.child.wait().expect("the process ends")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both calls do nothing if the test has killed the process.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Returns a command of the workspace's binary `name`, with these environment variables and no others.
#[must_use]
pub fn command(name: &str, environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(binary(name));
    command.env_clear().envs(environment.iter().copied());
    command
}

/// Cargo puts the binaries next to the folder of the running test.
fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let deps = test.parent().expect("a test lies in target/<profile>/deps");
    deps.parent()
        .map_or_else(|| deps.join(name), |profile: &Path| profile.join(name))
}

/// Processes of tests listen on these ports, which lie below the range for outgoing connections: a port of that range
/// could be taken by a connection after it was found free.
const PORTS_FROM: u16 = 20_000;
const PORTS: u16 = 8_000;

/// Returns an address on loopback that nobody listens on, and that no other test of this process gets.
#[must_use]
pub fn free_address() -> String {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test processes that run at once begin at different places.
    let start = u16::try_from(std::process::id() % u32::from(PORTS)).unwrap_or(0);
    for _ in 0..PORTS {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % PORTS;
        let port = PORTS_FROM + (start + step) % PORTS;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            drop(listener);
            return format!("127.0.0.1:{port}");
        }
    }
    panic!("no port from {PORTS_FROM} on is free");
}
