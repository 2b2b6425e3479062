//! Where the audit and the trace read: the running system of this home, or what the flags say.

use anyhow::Context as _;
use audit::{ProviderAccess, Sources};
use lab_stack::home::Home;
use lab_stack::stack::Stack;

/// What is read elsewhere than where the running system has it.
#[derive(Debug, Clone, clap::Args)]
#[command(
    next_help_heading = "Where to read; by default, what the running system's stack.json says"
)]
pub(crate) struct SourceFlags {
    /// PostgreSQL URL of the wallet database; temporary tables are made there
    #[arg(long, env, hide_env_values = true)]
    wallet_database_url: Option<String>,
    /// PostgreSQL URL of bill-payer's database
    #[arg(long, env, hide_env_values = true)]
    bill_payer_database_url: Option<String>,
    /// Kafka bootstrap servers, host:port separated by commas
    #[arg(long, env)]
    kafka_brokers: Option<String>,
    /// What stands before the name of every topic and consumer group
    #[arg(long, env)]
    topic_prefix: Option<String>,
    /// Base URL of the provider
    #[arg(long, env)]
    provider_url: Option<String>,
    #[command(flatten)]
    provider_access: ProviderAccess,
}

impl SourceFlags {
    /// What the flags say, and for the rest the running system of `home`.
    pub(crate) fn sources(self, home: &Home) -> anyhow::Result<Sources> {
        let needs_stack = self.wallet_database_url.is_none()
            || self.bill_payer_database_url.is_none()
            || self.kafka_brokers.is_none()
            || self.provider_url.is_none();
        let stack = if needs_stack {
            Some(running(home)?)
        } else {
            None
        };
        let or = |flag: Option<String>, of: fn(&Stack) -> &String| {
            flag.or_else(|| stack.as_ref().map(of).cloned())
                .unwrap_or_default()
        };
        Ok(Sources {
            wallet_database_url: or(self.wallet_database_url, |stack| &stack.wallet_database_url),
            bill_payer_database_url: or(self.bill_payer_database_url, |stack| {
                &stack.bill_payer_database_url
            }),
            kafka_brokers: or(self.kafka_brokers, |stack| &stack.kafka_brokers),
            topic_prefix: or(self.topic_prefix, |stack| &stack.topic_prefix),
            provider_url: or(self.provider_url, |stack| &stack.mock_provider),
            provider_access: self.provider_access,
        })
    }
}

fn running(home: &Home) -> anyhow::Result<Stack> {
    Stack::load(home)?.context(
        "nothing is running here: start it with ./dev up, or say where to read by flags (--help)",
    )
}
