//! Servers of its own for one command: fresh, and gone afterwards.

use anyhow::Context as _;

use crate::board::Board;
use crate::home::{self, Home, Lock};
use crate::kafka::KafkaPorts;
use crate::ports;
use crate::postgres::{self, Durability};
use crate::register::Register;
use crate::servers::{Broker, Connect, Database, Servers, Sources};
use crate::supervisor::Supervisor;

/// Servers to use instead of fresh ones.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Given {
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
pub(crate) struct Fresh {
    /// Where its files are.
    pub home: Home,
    /// What has become of its parts.
    pub board: Board,
    /// Owns its parts.
    pub supervisor: Supervisor,
    _lock: Lock,
}

impl Fresh {
    /// Makes the home, a folder of its own in `home`, and cleans up behind runs that were killed.
    pub(crate) async fn begin(home: &Home) -> anyhow::Result<Self> {
        clean_up(home).await?;
        let run = Home::new(&home.runs().join(std::process::id().to_string()))?;
        let lock = run
            .lock()?
            .context("another process has this process's number")?;
        let board = Board::new(run.clone(), None)?;
        Ok(Self {
            supervisor: Supervisor::new(run.clone(), board.clone()),
            board,
            home: run,
            _lock: lock,
        })
    }

    /// Starts the servers that are not given, Kafka Connect if it is wanted; `home` has the jars. Dropped before, what was started is
    /// ended by [`Self::end`].
    pub(crate) async fn servers(
        &mut self,
        home: &Home,
        given: &Given,
        (durability, wants_connect): (Durability, bool),
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
        let homes = (&self.home, home);
        Servers::start(&mut self.supervisor, &self.board, homes, &sources).await
    }

    /// Stops everything and removes the home.
    pub(crate) async fn end(mut self) -> anyhow::Result<()> {
        self.supervisor.stop_all().await;
        remove(&self.home)
    }
}

/// Stops and removes what killed runs have left.
pub(crate) async fn clean_up(home: &Home) -> anyhow::Result<()> {
    let runs = std::fs::read_dir(home.runs()).into_iter().flatten();
    for entry in runs {
        let run = Home::new(&entry.context("looking for earlier runs")?.path())?;
        let Some(_lock) = run.lock()? else {
            continue;
        };
        if let Some(register) = Register::load(&run)? {
            register.stop_leftovers().await;
        }
        remove(&run)?;
    }
    Ok(())
}

fn remove(run: &Home) -> anyhow::Result<()> {
    postgres::remove(run)?;
    home::remove(run.root())
}
