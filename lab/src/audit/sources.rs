//! Where the audit and the trace read: the running system of this home, or what the flags say.

use anyhow::Context as _;

use crate::home::Home;
use crate::stack::Stack;

/// Where everything is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sources {
    /// PostgreSQL URL. Its user must be allowed to make temporary tables.
    pub wallet_database_url: String,
    /// PostgreSQL URL.
    pub bill_payer_database_url: String,
    /// Bootstrap servers, host:port separated by commas.
    pub kafka_brokers: String,
    /// What stands before the name of every topic and consumer group.
    pub topic_prefix: String,
    /// Base URL of the provider.
    pub provider_url: String,
}

/// What is read elsewhere than where the running system has it.
#[derive(Debug, Clone, Default, clap::Args)]
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
}

impl From<Stack> for Sources {
    fn from(stack: Stack) -> Self {
        Self {
            wallet_database_url: stack.wallet_database_url,
            bill_payer_database_url: stack.bill_payer_database_url,
            kafka_brokers: stack.kafka_brokers,
            topic_prefix: stack.topic_prefix,
            provider_url: stack.mock_provider,
        }
    }
}

impl SourceFlags {
    /// What the flags say, and for the rest the running system of `home`.
    pub(crate) fn sources(&self, home: &Home) -> anyhow::Result<Sources> {
        let flags = self.clone();
        if let (Some(wallet), Some(bills), Some(brokers), Some(provider)) = (
            &flags.wallet_database_url,
            &flags.bill_payer_database_url,
            &flags.kafka_brokers,
            &flags.provider_url,
        ) {
            return Ok(Sources {
                wallet_database_url: wallet.clone(),
                bill_payer_database_url: bills.clone(),
                kafka_brokers: brokers.clone(),
                topic_prefix: flags.topic_prefix.unwrap_or_default(),
                provider_url: provider.clone(),
            });
        }
        let running = Sources::from(running(home)?);
        Ok(Sources {
            wallet_database_url: flags
                .wallet_database_url
                .unwrap_or(running.wallet_database_url),
            bill_payer_database_url: flags
                .bill_payer_database_url
                .unwrap_or(running.bill_payer_database_url),
            kafka_brokers: flags.kafka_brokers.unwrap_or(running.kafka_brokers),
            topic_prefix: flags.topic_prefix.unwrap_or(running.topic_prefix),
            provider_url: flags.provider_url.unwrap_or(running.provider_url),
        })
    }
}

fn running(home: &Home) -> anyhow::Result<Stack> {
    let path = home.stack();
    let text = std::fs::read_to_string(&path).with_context(|| {
        format!(
            "nothing is running here, as {} can't be read: start it with ./dev up, or say where to read by flags \
             (--help)",
            path.display()
        )
    })?;
    serde_json::from_str(&text).with_context(|| format!("understanding {}", path.display()))
}
