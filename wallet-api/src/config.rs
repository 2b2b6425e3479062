//! The service's settings.

use chassis::config::{DatabaseConfig, HttpConfig, KafkaConfig, LogConfig};
use chassis::housekeeping::HousekeepingConfig;

/// Everything that can be set; `wallet-api --help` lists it.
#[derive(Debug, Clone, clap::Args)]
pub struct Config {
    /// Address to serve HTTP on
    #[arg(long, env, default_value = "127.0.0.1:8080")]
    pub listen: String,
    /// Where the database is
    #[command(flatten)]
    pub database: DatabaseConfig,
    /// Where Kafka is
    #[command(flatten)]
    pub kafka: KafkaConfig,
    /// Limits of the HTTP server
    #[command(flatten)]
    pub http: HttpConfig,
    /// How to log
    #[command(flatten)]
    pub log: LogConfig,
    /// The group commit
    #[command(flatten)]
    pub writer: WriterConfig,
    /// Keeping and deleting
    #[command(flatten)]
    pub housekeeping: HousekeepingConfig,
}

/// Settings of the group commit.
#[derive(Debug, Clone, clap::Args)]
pub struct WriterConfig {
    /// Payments that may wait to be written; one more is answered 503. Too low: short bursts are
    /// refused. Too high: the last in the queue waits long, and times out after it was paid for.
    #[arg(long, env, default_value_t = 4_096, value_parser = positive)]
    pub payment_queue_max: usize,
    /// Payments of one transaction. Too low: less shared work. Too high: each waits for all others.
    #[arg(long, env, default_value_t = 256, value_parser = positive)]
    pub payment_batch_max: usize,
    /// Transactions at a time. Two keep the database busy while the other one gathers; more compete
    /// for the same wallets.
    #[arg(long, env, default_value_t = 2, value_parser = positive)]
    pub payment_writers: usize,
}

impl Default for WriterConfig {
    fn default() -> Self {
        Self {
            payment_queue_max: 4_096,
            payment_batch_max: 256,
            payment_writers: 2,
        }
    }
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}
