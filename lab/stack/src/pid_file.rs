//! `processes.json`: which processes were started, so that a later command finds and stops them, and
//! never signals a stranger.

use anyhow::Context as _;
use futures_util::future::join_all;
use lab_terminal as terminal;
use rand::RngExt as _;
use serde::{Deserialize, Serialize};

use crate::home::{self, Home};
use crate::process::{Ended, Identity};
use crate::shutdown_order::Tier;

/// What is running, as far as this home knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    /// Which start of the machine this is about: process numbers mean nothing after the next.
    pub boot: String,
    /// The process that owns the parts.
    pub supervisor: Identity,
    /// Where it answers, if it does.
    pub lab: Option<String>,
    /// Known to whoever may read this file or the lab's page: to the users of this machine, and to no other page.
    pub token: String,
    /// Its parts.
    pub parts: Vec<Record>,
}

/// A part that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The part's name.
    pub name: String,
    /// When and how to stop it.
    pub tier: Tier,
    /// Its process.
    #[serde(flatten)]
    pub process: Identity,
}

impl Register {
    /// An empty one, of this process.
    pub fn new(lab: Option<String>) -> anyhow::Result<Self> {
        Ok(Self {
            boot: boot()?,
            supervisor: Identity::own()?,
            lab,
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
        let register: Self = serde_json::from_str(&text)
            .with_context(|| format!("understanding {}", path.display()))?;
        Ok((register.boot == boot()?).then_some(register))
    }

    /// Writes it down.
    pub fn save(&self, home: &Home) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self).context("writing processes.json")?;
        home::write_atomically(&home.processes(), &text)
    }

    /// Stops every part that still runs, in order. Its supervisor must have ended.
    pub async fn stop_leftovers(&self) {
        for tier in Tier::STOPPING {
            let left: Vec<&Record> = self
                .parts
                .iter()
                .filter(|part| part.tier == tier && part.process.is_alive())
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
            .end(self.tier.stop_signal(), self.tier.stop_within())
            .await
        {
            Ended::Asked => {}
            Ended::Killed => terminal::part(&self.name, "did not stop when asked, and was killed"),
        }
    }
}

/// The kernel's name for this start of the machine.
fn boot() -> anyhow::Result<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .context("reading the machine's boot id")?;
    Ok(id.trim().to_owned())
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
            tier: Tier::Service,
            process,
        };
        let mut register = Register::new(None).unwrap();
        register.parts = vec![record(left), record(earlier)];
        register.stop_leftovers().await;
        assert!(!left.is_alive());
        assert!(stranger.is_alive());
        stranger_child.kill().unwrap();
        stranger_child.wait().unwrap();
        left_child.wait().unwrap();
    }
}
