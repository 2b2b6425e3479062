//! What the measurements have in common: servers, databases, topics and the services they start.

use std::path::PathBuf;

use anyhow::Context as _;

use super::cpu;
use super::database::{Copy, Databases};
use crate::fresh::Fresh;
use crate::home::Home;
use crate::part::Part;
use crate::process::Identity;
use crate::servers::Servers;
use crate::{connect, databases, ports, system};

/// The programs that are measured.
const PROGRAMS: [&str; 2] = ["wallet-api", "relay"];

/// What the services log: what they would in production.
const LOG: &str = "warn";

/// Servers with the databases on them, and the services that run just now.
pub(super) struct Stage<'a> {
    fresh: &'a mut Fresh,
    jars_home: &'a Home,
    pub(super) servers: Servers,
    pub(super) databases: Databases,
    programs: PathBuf,
    topic_prefix: String,
}

impl<'a> Stage<'a> {
    /// With nothing on the servers yet; `jars_home` has the jars.
    pub(super) fn new(
        fresh: &'a mut Fresh,
        jars_home: &'a Home,
        servers: Servers,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            databases: Databases::new(&servers.database_url),
            programs: system::folder_of(&PROGRAMS)?,
            topic_prefix: format!("bench-{}.", std::process::id()),
            fresh,
            jars_home,
            servers,
        })
    }

    /// Makes the topics and the database that is to be copied; returns the database's URL.
    pub(super) async fn prepare(&mut self) -> anyhow::Result<String> {
        system::create_topics(&self.servers, &self.topic_prefix).await?;
        let database = (self.databases.template(), "wallet-api");
        let server = &self.servers.database_url;
        databases::prepare(&self.fresh.home, &self.programs, server, database).await
    }

    /// The full name of a topic.
    pub(super) fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.topic_prefix)
    }

    /// Where files of a run may go.
    pub(super) fn folder(&self) -> PathBuf {
        self.fresh.home.root().to_owned()
    }

    /// One of our services, on a free port.
    pub(super) fn service(
        &self,
        program: &'static str,
        database: &Copy,
        env: Vec<(&'static str, String)>,
    ) -> anyhow::Result<Part> {
        let [port] = ports::free()?;
        let common = [
            ("DATABASE_URL", database.url.clone()),
            ("KAFKA_BROKERS", self.servers.kafka_brokers.clone()),
            ("LOG", LOG.to_owned()),
        ];
        Ok(system::service(
            &self.programs,
            &self.topic_prefix,
            (program, program, port),
            common.into_iter().chain(env).collect(),
        ))
    }

    /// Kafka Connect with no connectors, on a free port.
    pub(super) async fn connect(&self, copy: &Copy) -> anyhow::Result<Part> {
        let [port] = ports::free()?;
        let brokers = &self.servers.kafka_brokers;
        let group = format!("connect-{}", copy.name);
        connect::part((&self.fresh.home, self.jars_home), port, brokers, &group).await
    }

    /// Starts parts and waits until they are ready.
    pub(super) async fn start(&mut self, parts: Vec<Part>) -> anyhow::Result<()> {
        self.fresh.supervisor.start(parts).await
    }

    /// Stops a part, by its name.
    pub(super) async fn stop(&mut self, name: &str) {
        self.fresh.supervisor.stop(&[name.to_owned()]).await;
    }

    /// The process of a part.
    pub(super) async fn process(&self, name: &str) -> anyhow::Result<Identity> {
        let processes = self.fresh.board.processes().await;
        let found = processes.into_iter().find(|(part, _)| part == name);
        let (_, process) = found.with_context(|| format!("{name} does not run"))?;
        Ok(process)
    }

    /// Who has used the CPU so far.
    pub(super) async fn cpu(&self) -> anyhow::Result<cpu::Sample> {
        cpu::Sample::take(&self.fresh.board).await
    }
}
