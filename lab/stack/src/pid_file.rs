//! `processes.json`: which processes were started, so that a later command finds and stops them, and
//! never signals a stranger.

use std::collections::BTreeMap;

use anyhow::Context as _;
use futures_util::future::join_all;
use lab_terminal as terminal;
use rand::RngExt as _;
use serde::{Deserialize, Serialize};

use crate::home::{self, Home};
use crate::process::{Identity, Termination};
use crate::shutdown_order::ShutdownOrder;

/// What is running, as far as this home knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PidFile {
    /// Which start of the machine this is about: process numbers mean nothing after the next.
    pub boot: String,
    pub supervisor: Identity,
    pub lab: Option<String>,
    /// The settings with which `up` was started, by their environment variables.
    pub settings: BTreeMap<String, String>,
    /// Known to whoever may read this file or the lab's page: to the users of this machine, and to no other page.
    pub token: String,
    pub parts: Vec<Record>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub name: String,
    #[serde(rename = "tier")]
    pub shutdown_order: ShutdownOrder,
    #[serde(flatten)]
    pub process: Identity,
}

impl PidFile {
    pub fn new(lab: Option<String>, settings: BTreeMap<String, String>) -> anyhow::Result<Self> {
        Ok(Self {
            boot: boot()?,
            supervisor: Identity::own()?,
            lab,
            settings,
            token: format!("{:032x}", rand::rng().random::<u128>()),
            parts: Vec::new(),
        })
    }

    /// What the last supervisor of this home has written, if it was since the machine was started.
    pub fn load(home: &Home) -> anyhow::Result<Option<Self>> {
        let path = home.processes();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
        };
        let pid_file: Self = serde_json::from_str(&text).with_context(|| {
            format!(
                "{} is damaged; if nothing runs here, remove it",
                path.display()
            )
        })?;
        Ok((pid_file.boot == boot()?).then_some(pid_file))
    }

    /// Writes it down.
    pub fn save(&self, home: &Home) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self).context("writing processes.json")?;
        home::write_atomically(&home.processes(), &text)
    }

    /// Stops every process that still runs, in order. Its supervisor must have ended.
    pub async fn stop_leftovers(&self) {
        for shutdown_order in ShutdownOrder::STOPPING {
            let left: Vec<&Record> = self
                .parts
                .iter()
                .filter(|part| part.shutdown_order == shutdown_order && part.process.is_alive())
                .collect();
            join_all(left.into_iter().map(Record::stop)).await;
        }
    }
}

impl Record {
    async fn stop(&self) {
        let pid = self.process.pid;
        terminal::part(
            &self.name,
            format_args!("was left running (pid {pid}); stopping it"),
        );
        match self
            .process
            .end(
                self.shutdown_order.stop_signal(),
                self.shutdown_order.stop_within(),
            )
            .await
        {
            Termination::Asked => {}
            Termination::Killed => {
                terminal::part(&self.name, "did not stop when asked, and was killed");
            }
        }
    }
}

/// The kernel's name for this start of the machine.
fn boot() -> anyhow::Result<String> {
    procfs::sys::kernel::random::boot_id().context("reading the machine's boot id")
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    fn sleeper() -> (Child, Identity) {
        let child = Command::new("sleep").arg("600").spawn().unwrap();
        let process = Identity::of(child.id().try_into().unwrap()).unwrap();
        (child, process)
    }

    #[tokio::test]
    async fn what_is_left_is_stopped_and_a_stranger_with_the_same_pid_is_not() {
        let (mut left_child, left) = sleeper();
        let (mut stranger_child, stranger) = sleeper();
        let earlier = Identity {
            started: stranger.started - 1,
            ..stranger
        };
        let record = |process| Record {
            name: "part".to_owned(),
            shutdown_order: ShutdownOrder::Service,
            process,
        };
        let mut pid_file = PidFile::new(None, BTreeMap::new()).unwrap();
        pid_file.parts = vec![record(left), record(earlier)];
        pid_file.stop_leftovers().await;
        assert!(!left.is_alive());
        assert!(stranger.is_alive());
        stranger_child.kill().unwrap();
        stranger_child.wait().unwrap();
        left_child.wait().unwrap();
    }
}
