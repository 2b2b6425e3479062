//! What the measurements have in common: servers, databases, topics and the services they start.

use std::path::PathBuf;

use anyhow::Context as _;
use lab_stack::home::Home;
use lab_stack::process::Identity;
use lab_stack::process_spec::ProcessSpec;
use lab_stack::relay_mode::RelayMode;
use lab_stack::servers::FreshServers;
use lab_stack::servers::Servers;
use lab_stack::{connect, databases, ports, system};

use super::cpu;
use super::database::{Copy, Databases};
use super::relay_under_test::RelayUnderTest;

const PROGRAMS: [&str; 4] = ["wallet-api", "relay", "bill-payer", "mock-provider"];

/// What the services log: what they would in production.
const LOG: &str = "warn";

/// Servers with the databases on them, and the services that run just now.
pub(super) struct Stage<'a> {
    fresh: &'a mut FreshServers,
    jars_home: &'a Home,
    pub(super) servers: Servers,
    pub(super) databases: Databases,
    programs: PathBuf,
    topic_prefix: String,
}

impl<'a> Stage<'a> {
    /// With nothing on the servers yet; `jars_home` has the jars.
    pub(super) fn new(
        fresh: &'a mut FreshServers,
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

    /// Makes the topics and the database of `program` that is to be copied; returns the database's URL.
    pub(super) async fn prepare(&mut self, program: &str) -> anyhow::Result<String> {
        self.servers.create_our_topics(&self.topic_prefix).await?;
        let template = self.databases.template();
        let server = &self.servers.database_url;
        let home = &self.fresh.home;
        databases::prepare(home, &self.programs, server, template, program).await
    }

    pub(super) fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.topic_prefix)
    }

    /// Where files of a run may go.
    pub(super) fn folder(&self) -> PathBuf {
        self.fresh.home.root().to_owned()
    }

    pub(super) fn service(
        &self,
        program: &'static str,
        database: &Copy,
        env: Vec<(&'static str, String)>,
    ) -> anyhow::Result<ProcessSpec> {
        let [port] = ports::free()?;
        let common = [
            ("DATABASE_URL", database.url.clone()),
            ("KAFKA_BROKERS", self.servers.kafka_brokers.clone()),
            ("LOG", LOG.to_owned()),
        ];
        Ok(system::service(
            &self.programs,
            &self.topic_prefix,
            program,
            program,
            port,
            common.into_iter().chain(env).collect(),
        ))
    }

    /// One relay, not started, and what it needs: in mode `debezium` a Kafka Connect with no connectors.
    pub(super) async fn relay(
        &self,
        mode: RelayMode,
        copy: &Copy,
    ) -> anyhow::Result<RelayUnderTest> {
        let mut env = vec![("RELAY_MODE", mode.to_string())];
        let mut dependencies = Vec::new();
        if mode == RelayMode::Debezium {
            let [port] = ports::free()?;
            let brokers = &self.servers.kafka_brokers;
            let group = format!("connect-{}", copy.name);
            let connect =
                connect::part(&self.fresh.home, self.jars_home, port, brokers, &group).await?;
            env.push(("CONNECT_URL", connect.address.clone()));
            dependencies.push(connect);
        }
        Ok(RelayUnderTest {
            dependencies,
            relay: self.service("relay", copy, env)?,
        })
    }

    /// Starts processes and waits until they are ready.
    pub(super) async fn start(&mut self, parts: Vec<ProcessSpec>) -> anyhow::Result<()> {
        self.fresh.supervisor.start(parts).await
    }

    /// Stops a process, by its name.
    pub(super) async fn stop(&mut self, name: &str) {
        self.fresh.supervisor.stop(&[name.to_owned()]).await;
    }

    /// Stops a relay, then what it needed.
    pub(super) async fn stop_all(&mut self, relay: &RelayUnderTest) {
        for name in relay.names() {
            self.stop(&name).await;
        }
    }

    /// The processes of a relay and of what it needs.
    pub(super) async fn processes_of(
        &self,
        relay: &RelayUnderTest,
    ) -> anyhow::Result<Vec<Identity>> {
        let running = self.fresh.process_table.processes().await;
        let process = |name: String| {
            let found = running.iter().find(|(part, _)| *part == name);
            let (_, process) = found.with_context(|| format!("{name} does not run"))?;
            Ok(*process)
        };
        relay.names().into_iter().map(process).collect()
    }

    pub(super) async fn cpu(&self) -> anyhow::Result<cpu::Sample> {
        cpu::Sample::take(&self.fresh.process_table).await
    }
}
