//! Real processes, to be killed for real.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

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

/// Where cargo puts the binaries: beside the folder of the running test.
fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let deps = test.parent().expect("a test lies in target/<profile>/deps");
    deps.parent()
        .map_or_else(|| deps.join(name), |profile: &Path| profile.join(name))
}
