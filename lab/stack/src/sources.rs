//! Where PostgreSQL, Kafka and Kafka Connect come from: given, or started here.

use std::time::Duration;

use chassis::kafka::{Brokers, Probe};
use lab_terminal as terminal;
use tokio::time::timeout;

use crate::url::database_url;

#[derive(Debug, Clone)]
pub enum Database {
    /// It is there, at this URL.
    Given(String),
    /// It is started.
    Start { port: u16, durability: Durability },
}

#[derive(Debug, Clone)]
pub enum Broker {
    /// It is there, at these addresses.
    Given(String),
    Embedded,
    /// Kafka is started.
    Start(KafkaPorts),
}

impl Broker {
    /// As the setting `BROKER` names it, if it is started.
    pub const fn kind(&self) -> Option<&'static str> {
        match self {
            Self::Given(_) => None,
            Self::Embedded => Some("embedded"),
            Self::Start(_) => Some("kafka"),
        }
    }
}

#[derive(Debug, Clone)]
pub enum Connect {
    /// Nobody needs it.
    None,
    /// It is there, at this URL.
    Given(String),
    /// It is started.
    Start { port: u16 },
}

#[derive(Debug, Clone)]
pub struct Sources {
    /// PostgreSQL.
    pub database: Database,
    /// Kafka.
    pub broker: Broker,
    /// Kafka Connect.
    pub connect: Connect,
}

/// How long a given server may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

impl Sources {
    /// Fails if a server that is given does not answer.
    pub async fn check_given(&self) -> anyhow::Result<()> {
        let mut checked = Vec::new();
        if let Database::Given(url) = &self.database {
            let shown = terminal::without_password(url)?;
            // The one database that every server has.
            let any = database_url(url, "postgres")?;
            let connected = chassis::database::connect(&any, "lab");
            let answers = timeout(ANSWER_WITHIN, connected).await;
            checked.push((
                "PostgreSQL",
                "DATABASE_URL",
                shown,
                matches!(answers, Ok(Ok(_))),
            ));
        }
        if let Broker::Given(brokers) = &self.broker {
            let probe = Probe::new(Brokers::with_environment(brokers)?, "lab")?;
            let answers = timeout(ANSWER_WITHIN, probe.check()).await;
            checked.push((
                "Kafka",
                "KAFKA_BROKERS",
                brokers.clone(),
                matches!(answers, Ok(Ok(_))),
            ));
        }
        for (server, variable, address, answers) in checked {
            anyhow::ensure!(
                answers,
                "nothing was started: no {server} answers at {address}, which {variable} names. Check that it runs and \
                 that address and password are right; without {variable}, the lab starts its own"
            );
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Through a crash of the machine.
    Full,
    /// Not at all: faster, for tests.
    None,
}

/// Where the broker and its controller listen.
#[derive(Debug, Clone, Copy)]
pub struct KafkaPorts {
    /// For clients.
    pub broker: u16,
    /// For itself.
    pub controller: u16,
}
