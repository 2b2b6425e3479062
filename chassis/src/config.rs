//! The settings that services share; each is a flag and an environment variable, listed by `--help`.

use std::time::Duration;

use crate::hosts::Hosts;

/// Where the database is.
#[derive(Debug, Clone, clap::Args)]
pub struct DatabaseConfig {
    /// PostgreSQL URL, such as `postgres://user@127.0.0.1:5432/wallet`. Encrypted connections are not
    /// built in: an `sslmode` that demands one is refused
    #[arg(long, env, hide_env_values = true)]
    pub database_url: String,
    /// Connections in the pool. Too low: requests wait for one. Too high: PostgreSQL runs out of them.
    #[arg(long, env, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub database_pool_size: u32,
}

/// Where Kafka is.
#[derive(Debug, Clone, clap::Args)]
pub struct KafkaConfig {
    /// Kafka bootstrap servers, host:port separated by commas
    #[arg(long, env, default_value = "127.0.0.1:9092")]
    pub kafka_brokers: String,
    /// Put before the name of every topic and consumer group, so that several systems can share a
    /// broker, such as `staging.`
    #[arg(long, env, default_value = "")]
    pub topic_prefix: String,
}

impl KafkaConfig {
    /// The full name of a topic or a consumer group.
    #[must_use]
    pub fn prefixed(&self, name: &str) -> String {
        format!("{}{name}", self.topic_prefix)
    }
}

/// What a consumer of events leaves alone.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct IntakeConfig {
    /// Types of events, separated by commas, that this service skips. An event of any other type that this version does
    /// not know becomes a dead letter, because it may be about money: name a type here that is none of this service's
    /// business
    #[arg(long, env, value_delimiter = ',')]
    pub ignored_event_types: Vec<String>,
}

/// How to log.
#[derive(Debug, Clone, clap::Args)]
pub struct LogConfig {
    /// Which log lines: a level, or `tracing` directives such as "info,relay=debug"
    #[arg(long, env, default_value = "info")]
    pub log: String,
    /// How log lines look
    #[arg(long, env, value_enum, default_value_t = LogFormat::Pretty)]
    pub log_format: LogFormat,
}

/// The shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// For machines: one JSON object a line.
    Json,
}

/// Limits of the HTTP server.
#[derive(Debug, Clone, clap::Args)]
pub struct HttpConfig {
    /// Milliseconds a client has to send a request's headers, and to begin its next request on an
    /// open connection. Too low: slow networks are cut off. Too high: silent clients hold connections.
    #[arg(long, env, default_value_t = 15_000)]
    pub http_header_timeout_ms: u64,
    /// Milliseconds a client has to send a request's body
    #[arg(long, env, default_value_t = 5_000)]
    pub http_body_timeout_ms: u64,
    /// Milliseconds for which an answer may stand still because its client does not read. Too low: slow
    /// networks are cut off. Too high: such clients hold connections, and hold up the end of the process.
    #[arg(long, env, default_value_t = 8_000)]
    pub http_write_timeout_ms: u64,
    /// Open connections at a time. A further one takes the place of the one that is idle longest; when none
    /// is idle, 16 more are served for /livez, /readyz and /metrics alone
    #[arg(long, env, default_value_t = 2_048)]
    pub http_connections_max: usize,
    /// The names under which the service is reached.
    #[command(flatten)]
    pub hosts: Hosts,
}

impl HttpConfig {
    pub(crate) const fn header_timeout(&self) -> Duration {
        Duration::from_millis(self.http_header_timeout_ms)
    }

    pub(crate) const fn body_timeout(&self) -> Duration {
        Duration::from_millis(self.http_body_timeout_ms)
    }

    pub(crate) const fn write_timeout(&self) -> Duration {
        Duration::from_millis(self.http_write_timeout_ms)
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            http_header_timeout_ms: 15_000,
            http_body_timeout_ms: 5_000,
            http_write_timeout_ms: 8_000,
            http_connections_max: 2_048,
            hosts: Hosts::default(),
        }
    }
}
