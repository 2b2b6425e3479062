//! What the measurements have in common: servers, databases, topics and the services they start.

use std::path::PathBuf;

use anyhow::Context as _;
use lab_stack::home::Home;
use lab_stack::process::Identity;
use lab_stack::process_spec::ProcessSpec;
use lab_stack::relay_mode::RelayMode;
use lab_stack::servers::FreshServers;
use lab_stack::servers::Servers;
use lab_stack::system::ServicePorts;
use lab_stack::{connect, databases, ports, system};

use super::cpu;
use super::database::{Database, Databases};
use super::relay_under_test::RelayUnderTest;
use super::topic::Topic;

const PROGRAMS: [&str; 4] = ["wallet-api", "relay", "bill-payer", "mock-provider"];

/// What the services log: what they would in production.
const LOG: &str = "warn";

/// Servers with the databases on them, and the services that run just now.
pub(super) struct Stage<'a> {
    fresh: &'a mut FreshServers,
    jars_home: &'a Home,
    pub(super) servers: Servers,
    databases: Databases,
    /// Copies that the next [`Self::clear`] drops.
    copies: Vec<Database>,
    programs: PathBuf,
    /// How many sets of topics were made.
    topic_sets: u32,
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
            copies: Vec::new(),
            programs: system::folder_of(&PROGRAMS)?,
            topic_sets: 0,
            fresh,
            jars_home,
            servers,
        })
    }

    /// Makes topics for the services that are started from now on; returns that of the wallets' events.
    pub(super) async fn new_topics(&mut self) -> anyhow::Result<Topic> {
        self.topic_sets += 1;
        let prefix = self.topic_prefix();
        self.servers.create_our_topics(&prefix).await?;
        Topic::new(
            &self.servers.kafka_brokers,
            format!("{prefix}wallet.events"),
        )
    }

    fn topic_prefix(&self) -> String {
        format!("bench-{}-{}.", std::process::id(), self.topic_sets)
    }

    /// Makes a database of `program`, to be copied.
    pub(super) async fn template(&mut self, program: &str) -> anyhow::Result<Database> {
        let template = self.databases.next()?;
        let server = &self.servers.database_url;
        let home = &self.fresh.home;
        databases::prepare(home, &self.programs, server, &template.name, program, false).await?;
        Ok(template)
    }

    /// Makes a copy for one measurement.
    pub(super) async fn copy(&mut self, template: &Database) -> anyhow::Result<Database> {
        let copy = self.databases.copy(template).await?;
        self.copies.push(copy.clone());
        Ok(copy)
    }

    /// Drops a template that no measurement needs any more.
    pub(super) async fn drop(&self, template: Database) -> anyhow::Result<()> {
        self.databases.drop(template).await
    }

    /// Ends a measurement: stops everything but the servers, and drops the copies.
    pub(super) async fn clear(&mut self) -> anyhow::Result<()> {
        self.fresh.supervisor.stop_clients().await;
        for copy in std::mem::take(&mut self.copies) {
            self.databases.drop(copy).await?;
        }
        anyhow::ensure!(
            self.fresh.process_table.restarts().await == 0,
            "the measurements are void: a part died and was started again"
        );
        Ok(())
    }

    /// Where files of a run may go.
    pub(super) fn folder(&self) -> PathBuf {
        self.fresh.home.root().to_owned()
    }

    pub(super) fn service(
        &self,
        program: &'static str,
        database: &Database,
        env: Vec<(&'static str, String)>,
    ) -> anyhow::Result<ProcessSpec> {
        self.named_service(program, program, database, env)
    }

    fn named_service(
        &self,
        name: &str,
        program: &str,
        database: &Database,
        env: Vec<(&'static str, String)>,
    ) -> anyhow::Result<ProcessSpec> {
        let [first, second] = ports::free()?;
        let ports = match program {
            "mock-provider" => ServicePorts::everybody(first),
            "wallet-api" => ServicePorts {
                customers: Some(first),
                operators: Some(second),
            },
            _ => ServicePorts::operators(first),
        };
        let common = [
            ("DATABASE_URL", database.url.clone()),
            ("KAFKA_BROKERS", self.servers.kafka_brokers.clone()),
            ("LOG", LOG.to_owned()),
        ];
        Ok(system::service(
            &self.programs,
            &self.topic_prefix(),
            name,
            program,
            ports,
            common.into_iter().chain(env).collect(),
        ))
    }

    /// One relay, not started, and what it needs: in mode `debezium` a Kafka Connect with no connectors.
    pub(super) async fn relay(
        &self,
        mode: RelayMode,
        database: &Database,
    ) -> anyhow::Result<RelayUnderTest> {
        let mut env = vec![("RELAY_MODE", mode.to_string())];
        let mut dependencies = Vec::new();
        if mode == RelayMode::Debezium {
            let [port] = ports::free()?;
            let brokers = &self.servers.kafka_brokers;
            let group = format!("connect-{}", database.name);
            let connect =
                connect::part(&self.fresh.home, self.jars_home, port, brokers, &group).await?;
            env.push(("CONNECT_URL", connect.address.clone()));
            dependencies.push(connect);
        }
        Ok(RelayUnderTest {
            dependencies,
            relay: self.service("relay", database, env)?,
        })
    }

    /// A second relay in the mode of the first one, not started, for another database.
    pub(super) fn second_relay(
        &self,
        first: &RelayUnderTest,
        database: &Database,
    ) -> anyhow::Result<ProcessSpec> {
        let env = first.relay.env.iter();
        let env = env.filter(|(name, _)| ["RELAY_MODE", "CONNECT_URL"].contains(name));
        self.named_service("relay-2", "relay", database, env.cloned().collect())
    }

    /// Starts processes and waits until they are ready.
    pub(super) async fn start(&mut self, parts: Vec<ProcessSpec>) -> anyhow::Result<()> {
        self.fresh.supervisor.start(parts).await
    }

    /// Stops a process, by its name.
    pub(super) async fn stop(&mut self, name: &str) {
        self.fresh.supervisor.stop(&[name.to_owned()]).await;
    }

    /// The running processes with these names.
    pub(super) async fn processes(&self, names: &[&str]) -> anyhow::Result<Vec<Identity>> {
        let running = self.fresh.process_table.processes().await;
        let process = |name: &&str| {
            let found = running.iter().find(|(part, _)| part == name);
            let (_, process) = found.with_context(|| format!("{name} does not run"))?;
            Ok(*process)
        };
        names.iter().map(process).collect()
    }

    /// Resident memory of these processes, their peaks added up.
    pub(super) async fn resident_peak_bytes(&self, names: &[&str]) -> anyhow::Result<u64> {
        let processes = self.processes(names).await?.into_iter();
        Ok(processes.filter_map(Identity::resident_peak_bytes).sum())
    }

    pub(super) async fn cpu(&self) -> anyhow::Result<cpu::Sample> {
        cpu::Sample::take(&self.fresh.process_table).await
    }
}
