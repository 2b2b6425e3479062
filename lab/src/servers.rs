//! PostgreSQL, Kafka and Kafka Connect together: started here, or given.

use crate::board::Board;
use crate::embedded_broker::{self, EmbeddedBroker};
use crate::home::Home;
use crate::kafka::{self, KafkaPorts};
use crate::postgres::{self, Durability};
use crate::supervisor::Supervisor;
use crate::terminal;
use crate::{config, connect};

/// Where the database server comes from.
#[derive(Debug, Clone)]
pub(crate) enum Database {
    /// It is there, at this URL.
    Given(String),
    /// It is started.
    Start {
        /// Where it will listen.
        port: u16,
        /// How well it keeps its data.
        durability: Durability,
    },
}

/// Where the broker comes from.
#[derive(Debug, Clone)]
pub(crate) enum Broker {
    /// It is there, at these addresses.
    Given(String),
    /// The mock cluster in this process.
    Embedded,
    /// Kafka is started.
    Start(KafkaPorts),
}

/// Where Kafka Connect comes from.
#[derive(Debug, Clone)]
pub(crate) enum Connect {
    /// Nobody needs it.
    None,
    /// It is there, at this URL.
    Given(String),
    /// It is started.
    Start {
        /// Where it will listen.
        port: u16,
    },
}

/// Where each comes from.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    /// PostgreSQL.
    pub database: Database,
    /// Kafka.
    pub broker: Broker,
    /// Kafka Connect.
    pub connect: Connect,
}

/// The servers, ready.
pub(crate) struct Servers {
    /// A URL of the database server; its user may create databases.
    pub database_url: String,
    /// host:port, separated by commas.
    pub kafka_brokers: String,
    /// Where Kafka Connect answers, if it is there.
    pub connect_url: Option<String>,
    embedded: Option<EmbeddedBroker>,
}

impl Servers {
    /// Starts what is not given, with its data in `home` and the jars in `jars_home`.
    pub(crate) async fn start(
        supervisor: &mut Supervisor,
        board: &Board,
        (home, jars_home): (&Home, &Home),
        sources: &Sources,
    ) -> anyhow::Result<Self> {
        let mut parts = Vec::new();
        let database_url = match &sources.database {
            Database::Given(url) => {
                board
                    .not_ours("postgres", &config::without_password(url)?, "given")
                    .await;
                url.clone()
            }
            Database::Start { port, durability } => {
                let part = postgres::prepare(home, *port, *durability).await?;
                let url = part.address.clone();
                parts.push(part);
                url
            }
        };
        let mut embedded = None;
        let kafka_brokers = match &sources.broker {
            Broker::Given(brokers) => {
                board.not_ours("kafka", brokers, "given").await;
                brokers.clone()
            }
            Broker::Embedded => {
                terminal::line(format_args!("  {}", embedded_broker::WARNING));
                let broker = embedded.insert(EmbeddedBroker::start()?);
                board
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
        let homes = (home, jars_home);
        let (connect_url, connect) =
            connect::prepare(board, homes, &sources.connect, &kafka_brokers).await?;
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

    /// Creates the topics that do not exist yet.
    pub(crate) async fn create_topics(
        &self,
        topics: &[&str],
        partitions: i32,
    ) -> anyhow::Result<()> {
        match &self.embedded {
            Some(broker) => broker.create_topics(topics, partitions),
            None => {
                chassis::kafka::create_topics(
                    &self.kafka_brokers,
                    topics,
                    partitions,
                    BROKERS_DEFAULT,
                )
                .await
            }
        }
    }
}

/// Leaves the number of replicas to the brokers, which may not be ours.
const BROKERS_DEFAULT: i32 = -1;
