//! The settings of the service: everything that can be set is a field of [`Config`].

use std::time::Duration;

use chassis::access::AccessConfig;
use chassis::config::{DatabaseConfig, HttpConfig, IntakeConfig, KafkaConfig, LogConfig};
use operations::housekeeping::HousekeepingConfig;

use crate::pattern::Pattern;

/// Everything that can be set; `wallet-api --help` lists it.
#[derive(Debug, Clone, clap::Args)]
pub struct Config {
    /// Address to serve customers on
    #[arg(long, env, default_value = "127.0.0.1:8080")]
    pub listen: String,
    /// Address to serve operators on, with /livez, /readyz and /metrics
    #[arg(long, env, default_value = "127.0.0.1:9080")]
    pub admin_listen: String,
    #[command(flatten)]
    pub access: AccessConfig,
    #[command(flatten)]
    pub database: DatabaseConfig,
    #[command(flatten)]
    pub kafka: KafkaConfig,
    #[command(flatten)]
    pub intake: IntakeConfig,
    #[command(flatten)]
    pub http: HttpConfig,
    #[command(flatten)]
    pub log: LogConfig,
    #[command(flatten)]
    pub writer: WriterConfig,
    #[command(flatten)]
    pub housekeeping: HousekeepingConfig,
    #[command(flatten)]
    pub pattern: PatternConfig,
}

#[derive(Debug, Clone, clap::Args)]
pub struct PatternConfig {
    /// How a payment is written: its debit, and the event that has the bill paid
    #[arg(long, env, value_enum, default_value_t = Pattern::Outbox)]
    pub pay_pattern: Pattern,
    /// Milliseconds a request waits for Kafka's acknowledgement, in the patterns that publish in the
    /// request. Too low: a broker's restart is an error for the clients. Too high: they wait for an
    /// answer that does not come, and a stop of the process waits with them.
    #[arg(long, env, default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(100..=8_000))]
    pub publish_timeout_ms: u64,
    /// Lets itself be experimented with: allows PAY_PATTERN=dual-write and publish-first, which lose money, and the
    /// request headers `x-pay-pattern: outbox|listen-to-yourself|dual-write|publish-first`, `x-lab-crash: between`,
    /// which ends the request as if the process had died between its two writes, and `x-lab-hold: NUMBER`, which has
    /// it wait there while somebody holds this advisory lock of the database. Never in production
    #[arg(long, env)]
    pub lab: bool,
    /// Carries out what is on wallet.commands although the pattern is not listen-to-yourself: after a change of
    /// `PAY_PATTERN`, until the topic is read to its end. Commands debit wallets, so nobody reads them otherwise
    #[arg(long, env)]
    pub drain_commands: bool,
}

/// Whether requests may ask for experiments, by headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lab {
    On,
    Off,
}

/// Whether this process carries out commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandIntake {
    /// This process publishes commands, or may be asked to, or is to carry out the rest of them.
    Consume,
    /// This process only looks whether any are left.
    Watch,
}

/// A pattern that loses money was asked for without the lab.
#[derive(Debug, thiserror::Error)]
#[error(
    "PAY_PATTERN={} {} whenever a process dies between its two writes. It is there to be watched doing so, and \
     runs in the lab only: LAB=true allows it. PAY_PATTERN=outbox does the same without losing anything",
    pattern.name(),
    harm
)]
pub struct PatternRefused {
    pattern: Pattern,
    harm: &'static str,
}

impl PatternConfig {
    /// # Errors
    /// The pattern is dual-write or publish-first, and the lab is off.
    pub const fn lab(&self) -> Result<Lab, PatternRefused> {
        let pattern = self.pay_pattern;
        let harm = match (self.lab, pattern) {
            (true, _) => return Ok(Lab::On),
            (false, Pattern::Outbox | Pattern::ListenToYourself) => return Ok(Lab::Off),
            (false, Pattern::DualWrite) => "loses the events of debited payments",
            (false, Pattern::PublishFirst) => "has bills paid that nobody is charged for",
        };
        Err(PatternRefused { pattern, harm })
    }

    #[must_use]
    pub const fn command_intake(&self) -> CommandIntake {
        match self.pay_pattern {
            Pattern::ListenToYourself => CommandIntake::Consume,
            Pattern::Outbox | Pattern::DualWrite | Pattern::PublishFirst => {
                if self.lab || self.drain_commands {
                    CommandIntake::Consume
                } else {
                    CommandIntake::Watch
                }
            }
        }
    }

    #[must_use]
    pub const fn publish_timeout(&self) -> Duration {
        Duration::from_millis(self.publish_timeout_ms)
    }
}

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
