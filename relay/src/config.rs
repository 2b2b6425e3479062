//! The relay's settings: plain values whose defaults are their [`Default`]; the binary reads them from its
//! command line and its environment, and `relay --help` lists them.

use std::path::PathBuf;
use std::time::Duration;

use chassis::config::{DatabaseConfig, KafkaConfig};
use secrecy::SecretString;

use crate::relay_mode::RelayMode;

const CONNECT_URL: &str = "http://127.0.0.1:8083";

/// What a relay needs to know.
#[derive(Debug, Clone, clap::Args)]
pub struct Config {
    /// How unpublished events are found. All relays of a database run in one mode; one that finds
    /// another mode running waits for it to end
    #[arg(long, env, value_enum, default_value_t = RelayMode::default())]
    pub relay_mode: RelayMode,
    /// Where the database is
    #[command(flatten)]
    pub database: DatabaseConfig,
    /// Where Kafka is
    #[command(flatten)]
    pub kafka: KafkaConfig,
    /// Kafka Connect, for mode debezium
    #[command(flatten)]
    pub connect: ConnectConfig,
    /// Publishing
    #[command(flatten)]
    pub publisher: PublisherConfig,
    /// The poller
    #[command(flatten)]
    pub poller: PollerConfig,
    /// Mode cdc
    #[command(flatten)]
    pub cdc: CdcConfig,
}

impl Config {
    /// The defaults, for this database and these brokers.
    #[must_use]
    pub fn new(database: DatabaseConfig, kafka: KafkaConfig) -> Self {
        Self {
            relay_mode: RelayMode::default(),
            database,
            kafka,
            connect: ConnectConfig::default(),
            publisher: PublisherConfig::default(),
            poller: PollerConfig::default(),
            cdc: CdcConfig::default(),
        }
    }
}

/// Where Kafka Connect is.
#[derive(Debug, Clone, clap::Args)]
pub struct ConnectConfig {
    /// Kafka Connect, whose workers have Debezium's plugin for PostgreSQL, for mode debezium: http:// or https://, with a
    /// user and a password if it asks for them. The mode after that one deletes the connector there. Or
    /// `CONNECT_URL_FILE`, a file that it stands in
    #[arg(long, env, default_value = CONNECT_URL, hide_env_values = true)]
    pub connect_url: SecretString,
    /// Sent to Kafka Connect as Bearer authorization; better `CONNECT_TOKEN_FILE`, a file that it stands in
    #[arg(long, env, hide_env_values = true)]
    pub connect_token: Option<SecretString>,
    /// Who signs Kafka Connect's certificate, a PEM file; without it, whom the system trusts
    #[arg(long, env)]
    pub connect_ca_file: Option<PathBuf>,
    /// What stands in the connector's configuration instead of the database's password: a reference that a config provider
    /// of the workers resolves, such as `${directory:/run/secrets:wallet_relay}`. Without it, whoever reaches Kafka
    /// Connect can read the password
    #[arg(long, env, value_parser = reference)]
    pub connect_database_password: Option<String>,
}

/// Refuses a password: whoever reaches Kafka Connect could read it.
fn reference(text: &str) -> Result<String, &'static str> {
    let is_reference = text.starts_with("${") && text.ends_with('}');
    is_reference.then(|| text.to_owned()).ok_or(
        "a reference is like ${directory:/run/secrets:wallet_relay}, and not the password itself",
    )
}

impl Default for ConnectConfig {
    fn default() -> Self {
        Self {
            connect_url: CONNECT_URL.into(),
            connect_token: None,
            connect_ca_file: None,
            connect_database_password: None,
        }
    }
}

/// Settings of the producer.
#[derive(Debug, Clone, clap::Args)]
pub struct PublisherConfig {
    /// Milliseconds a message waits for others to travel with. Too low: more and smaller requests.
    /// Too high: every event is late by it
    #[arg(long, env, default_value_t = PublisherConfig::default().linger_ms, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    pub linger_ms: u32,
    /// Bytes of a message at most: key, headers and payload. A larger event is refused here, and
    /// so are the later ones of its key. Above the topics' max.message.bytes, the broker refuses it
    #[arg(long, env, default_value_t = PublisherConfig::default().message_bytes_max, value_parser = clap::value_parser!(u32).range(1_000..=100_000_000))]
    pub message_bytes_max: u32,
    /// Milliseconds that a topic may fail, because it is missing or may not be written, before its events are parked.
    /// Too low: a topic that is created a little late costs a replay. Too high: the keys wait without anybody
    /// knowing
    #[arg(long, env, default_value_t = PublisherConfig::default().topic_failing_ms_max, value_parser = clap::value_parser!(u64).range(100..=3_600_000))]
    pub topic_failing_ms_max: u64,
}

impl Default for PublisherConfig {
    fn default() -> Self {
        Self {
            linger_ms: 1,
            message_bytes_max: 1_000_000,
            topic_failing_ms_max: 30_000,
        }
    }
}

impl PublisherConfig {
    pub(crate) const fn topic_failing_max(&self) -> Duration {
        Duration::from_millis(self.topic_failing_ms_max)
    }
}

/// Settings of the poller.
#[derive(Debug, Clone, clap::Args)]
pub struct PollerConfig {
    /// Events of one shard (there are 64) that are read, published and deleted together. Too low: a
    /// busy key waits for many round trips, and a backlog for many small ones. Too high: a batch takes long, and a crash
    /// repeats more
    #[arg(long, env, default_value_t = PollerConfig::default().rows_per_shard_max, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub rows_per_shard_max: u32,
    /// Milliseconds between two looks at an idle outbox at most. Too low: the database is asked for
    /// nothing. Too high: the first event after a pause is late by it
    #[arg(long, env, default_value_t = PollerConfig::default().idle_wait_ms_max, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub idle_wait_ms_max: u64,
    /// Milliseconds between two looks at who else is relaying. Too low: work for nothing. Too high: the
    /// shards of a relay that was killed lie idle for that long
    #[arg(long, env, default_value_t = PollerConfig::default().rebalance_every_ms, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub rebalance_every_ms: u64,
}

impl Default for PollerConfig {
    fn default() -> Self {
        Self {
            rows_per_shard_max: 512,
            idle_wait_ms_max: 20,
            rebalance_every_ms: 1_000,
        }
    }
}

impl PollerConfig {
    pub(crate) const fn idle_wait_max(&self) -> Duration {
        Duration::from_millis(self.idle_wait_ms_max)
    }

    pub(crate) const fn rebalance_every(&self) -> Duration {
        Duration::from_millis(self.rebalance_every_ms)
    }
}

/// Settings of mode cdc.
#[derive(Debug, Clone, clap::Args)]
pub struct CdcConfig {
    /// Milliseconds that Kafka may be away before the replication stream is closed. Too low: each slow
    /// acknowledgement costs a new stream and a sweep of the table. Too high: PostgreSQL, which waits for
    /// its streams, does not stop for that long while Kafka is away
    #[arg(long, env, default_value_t = CdcConfig::default().kafka_away_ms_max, value_parser = clap::value_parser!(u64).range(100..=600_000))]
    pub kafka_away_ms_max: u64,
}

impl Default for CdcConfig {
    fn default() -> Self {
        Self {
            kafka_away_ms_max: 60_000,
        }
    }
}

impl CdcConfig {
    #[cfg(feature = "cdc")]
    pub(crate) const fn kafka_away_max(&self) -> Duration {
        Duration::from_millis(self.kafka_away_ms_max)
    }
}
