//! Real processes, to be killed for real.

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
    /// Starts the workspace's binary `name` with these environment variables and no others but `PATH`.
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

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill_9(mut self) {
        self.child.kill().expect("the process was running");
        self.child.wait().expect("the process is reaped");
    }

    /// SIGTERM; does not wait.
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
        // Gone already when the test killed it: both calls then do nothing.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A command of the workspace's binary `name`, to be run to its end with these environment variables and no others.
#[must_use]
pub fn command(name: &str, environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(binary(name));
    command.env_clear().envs(environment.iter().copied());
    command
}

/// Where cargo puts the binaries: beside the folder of the running test.
fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let deps = test.parent().expect("a test lies in target/<profile>/deps");
    deps.parent()
        .map_or_else(|| deps.join(name), |profile: &Path| profile.join(name))
}

/// Where processes of tests listen: below the ports that outgoing connections are given, any of which
/// could be taken by one of those between being found free and being listened on.
const PORTS_FROM: u16 = 20_000;
const PORTS: u16 = 8_000;

/// An address on loopback that nobody listens on, and that no other test of this process is given.
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
