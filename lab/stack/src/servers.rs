//! PostgreSQL, Kafka and Kafka Connect together: started here, or given.

use std::collections::BTreeMap;

use anyhow::Context as _;
use chassis::kafka::Brokers;
use lab_terminal as terminal;

use crate::embedded_broker::{self, EmbeddedBroker};
use crate::home::{self, Home, Lock};
use crate::pid_file::PidFile;
use crate::process_spec::ProcessSpec;
use crate::process_table::ProcessTable;
use crate::sources::{Broker, Connect, Database, Durability, KafkaPorts, Sources};
use crate::supervisor::Supervisor;
use crate::{connect, kafka, ports, postgres};

pub struct Servers {
    /// A URL of the database server; its user may create databases.
    pub database_url: String,
    /// host:port, separated by commas.
    pub kafka_brokers: String,
    /// Base URL of Kafka Connect, if it runs.
    pub connect_url: Option<String>,
    embedded: Option<EmbeddedBroker>,
}

impl Servers {
    /// Starts what is not given, with its data in `home` and the jars in `jars_home`.
    pub async fn start(
        supervisor: &mut Supervisor,
        process_table: &ProcessTable,
        home: &Home,
        jars_home: &Home,
        sources: &Sources,
    ) -> anyhow::Result<Self> {
        let mut parts = Vec::new();
        // PostgreSQL.
        let database_url = match &sources.database {
            Database::Given(url) => {
                process_table
                    .not_ours("postgres", &terminal::without_password(url)?, "given")
                    .await;
                url.clone()
            }
            Database::Start { port, durability } => {
                let (part, url) = postgres::prepare(home, *port, *durability).await?;
                parts.push(part);
                url
            }
        };
        // Kafka.
        let mut embedded = None;
        let kafka_brokers = match &sources.broker {
            Broker::Given(brokers) => {
                process_table.not_ours("kafka", brokers, "given").await;
                brokers.clone()
            }
            Broker::Embedded => {
                terminal::line(format_args!("  {}", embedded_broker::WARNING));
                let broker = embedded.insert(EmbeddedBroker::start()?);
                process_table
                    .not_ours("kafka", &broker.brokers()?, "embedded")
                    .await;
                broker.brokers()?
            }
            Broker::Start(ports) => {
                let part = kafka::prepare(home, jars_home, *ports).await?;
                let brokers = part.address.clone();
                parts.push(part);
                brokers
            }
        };
        // Starts at once with the broker: it waits for that one by itself.
        let (connect_url, connect) = prepare_connect(
            process_table,
            home,
            jars_home,
            &sources.connect,
            &kafka_brokers,
        )
        .await?;
        supervisor
            .start(parts.into_iter().chain(connect).collect())
            .await?;
        Ok(Self {
            database_url,
            kafka_brokers,
            connect_url,
            embedded,
        })
    }

    /// Creates the topics of the system that do not exist yet.
    pub async fn create_our_topics(&self, topic_prefix: &str) -> anyhow::Result<()> {
        let topics = TOPICS.map(|name| format!("{topic_prefix}{name}"));
        let topics = topics.each_ref().map(String::as_str);
        self.create_topics(&topics, PARTITIONS).await
    }

    async fn create_topics(&self, topics: &[&str], partitions: i32) -> anyhow::Result<()> {
        match &self.embedded {
            Some(broker) => broker.create_topics(topics, partitions),
            None => {
                let brokers = Brokers::with_environment(&self.kafka_brokers)?;
                chassis::kafka::create_topics(brokers, topics, partitions, BROKERS_DEFAULT).await
            }
        }
    }
}

/// How many payments of different wallets can be on their way at once: a topic's partitions.
pub const PARTITIONS: i32 = 8;

const TOPICS: [&str; 3] = ["wallet.events", "bill.events", "wallet.commands"];

/// Leaves the number of replicas to the brokers, which may not be ours.
const BROKERS_DEFAULT: i32 = -1;

/// Answers where Kafka Connect will be, and what to start for that.
pub async fn prepare_connect(
    process_table: &ProcessTable,
    home: &Home,
    jars_home: &Home,
    source: &Connect,
    kafka_brokers: &str,
) -> anyhow::Result<(Option<String>, Option<ProcessSpec>)> {
    Ok(match source {
        Connect::None => (None, None),
        Connect::Given(url) => {
            process_table.not_ours(connect::NAME, url, "given").await;
            (Some(url.clone()), None)
        }
        Connect::Start { port } => {
            let part = connect::part(home, jars_home, *port, kafka_brokers, "connect").await?;
            connect::may_have_connectors(home)?;
            (Some(part.address.clone()), Some(part))
        }
    })
}

/// Servers to use instead of fresh ones.
#[derive(Debug, Clone, clap::Args)]
pub struct GivenServers {
    /// PostgreSQL server to use instead of a fresh one
    #[arg(long, env, hide_env_values = true)]
    pub test_database_url: Option<String>,
    /// Kafka brokers to use instead of a fresh one
    #[arg(long, env)]
    pub test_kafka_brokers: Option<String>,
    /// Kafka Connect to use instead of a fresh one
    #[arg(long, env)]
    pub test_connect_url: Option<String>,
}

/// A home for this process alone, and what runs in it.
#[derive(Debug)]
pub struct FreshServers {
    pub home: Home,
    pub process_table: ProcessTable,
    /// Owns its processes.
    pub supervisor: Supervisor,
    _lock: Lock,
}

impl FreshServers {
    /// Makes the home, a folder of its own in `home`, and cleans up after runs that were killed.
    pub async fn begin(home: &Home) -> anyhow::Result<Self> {
        clean_up(home).await?;
        let run = Home::new(&home.runs().join(std::process::id().to_string()))?;
        let lock = run
            .lock()?
            .context("another process has this process's number")?;
        let process_table = ProcessTable::new(run.clone(), PidFile::new(None, BTreeMap::new())?)?;
        Ok(Self {
            supervisor: Supervisor::new(run.clone(), process_table.clone()),
            process_table,
            home: run,
            _lock: lock,
        })
    }

    /// Starts the servers that are not given, Kafka Connect if it is wanted; `home` has the jars. Dropped before, what was started is
    /// ended by [`Self::end`].
    pub async fn servers(
        &mut self,
        home: &Home,
        given: &GivenServers,
        durability: Durability,
        wants_connect: bool,
    ) -> anyhow::Result<Servers> {
        let [port, broker, controller, connect] = ports::free()?;
        let database = given
            .test_database_url
            .clone()
            .map_or(Database::Start { port, durability }, Database::Given);
        let broker = given.test_kafka_brokers.clone().map_or(
            Broker::Start(KafkaPorts { broker, controller }),
            Broker::Given,
        );
        let connect = match &given.test_connect_url {
            _ if !wants_connect => Connect::None,
            Some(url) => Connect::Given(url.clone()),
            None => Connect::Start { port: connect },
        };
        let sources = Sources {
            database,
            broker,
            connect,
        };
        Servers::start(
            &mut self.supervisor,
            &self.process_table,
            &self.home,
            home,
            &sources,
        )
        .await
    }

    /// Stops everything and removes the home.
    pub async fn end(mut self) -> anyhow::Result<()> {
        self.supervisor.stop_all().await;
        remove(&self.home)
    }
}

/// Stops and removes what killed runs have left.
pub async fn clean_up(home: &Home) -> anyhow::Result<()> {
    let runs = std::fs::read_dir(home.runs()).into_iter().flatten();
    for entry in runs {
        let run = Home::new(&entry.context("looking for earlier runs")?.path())?;
        let Some(_lock) = run.lock()? else {
            continue;
        };
        if let Some(pid_file) = PidFile::load(&run)? {
            pid_file.stop_leftovers().await;
        }
        remove(&run)?;
    }
    Ok(())
}

fn remove(run: &Home) -> anyhow::Result<()> {
    postgres::remove(run)?;
    home::remove(run.root())
}
