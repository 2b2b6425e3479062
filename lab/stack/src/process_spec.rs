//! A part of the system, as data: what to run, how to see that it is ready, how to stop it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use chassis::kafka::Probe;
use tokio::process::Child;

use crate::http;
use crate::program::{LogFile, User, command, log_to};
use crate::shutdown_order::ShutdownOrder;

#[derive(Debug, Clone)]
pub enum Ready {
    /// This URL answers with success.
    Http(String),
    Postgres(String),
    Kafka(String),
}

impl Ready {
    pub async fn wait(&self) -> anyhow::Result<()> {
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

#[derive(Debug, Clone)]
pub struct ProcessSpec {
    /// Its name in the status, in `stack.json` and of its log.
    pub name: String,
    pub shutdown_order: ShutdownOrder,
    /// Where it listens: a base URL or host:port.
    pub address: String,
    pub program: PathBuf,
    pub args: Vec<String>,
    /// Variables besides the inherited environment.
    pub env: Vec<(&'static str, String)>,
    /// Who to run it as, if not the user of this process.
    pub user: Option<User>,
    pub ready: Ready,
    pub ready_within: Duration,
}

impl ProcessSpec {
    /// Starts the process. It is not killed when the handle is dropped: the supervisor ends it.
    pub fn spawn(&self, log: &LogFile) -> anyhow::Result<Child> {
        let mut command = command(&self.program, self.user);
        command.args(&self.args).envs(self.env.clone());
        log_to(&mut command, log)?;
        command
            .spawn()
            .with_context(|| format!("starting {}", self.program.display()))
    }
}
