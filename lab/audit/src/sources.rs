//! Where the audit and the trace read.

use std::path::PathBuf;

use chassis::kafka::{Brokers, SettingError};
use secrecy::SecretString;

/// What the databases are called in an error.
pub(crate) const WALLET_DATABASE: &str = "the wallet database";
pub(crate) const BILL_PAYER_DATABASE: &str = "bill-payer's database";

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Where to read")]
pub struct Sources {
    /// PostgreSQL URL of the wallet database; its user needs to read the tables and to make temporary ones
    #[arg(long, env, hide_env_values = true)]
    pub wallet_database_url: String,
    /// PostgreSQL URL of bill-payer's database; its user needs to read the tables
    #[arg(long, env, hide_env_values = true)]
    pub bill_payer_database_url: String,
    /// Kafka bootstrap servers, host:port separated by commas
    #[arg(long, env)]
    pub kafka_brokers: String,
    /// What stands before the name of every topic and consumer group
    #[arg(long, env, default_value = "")]
    pub topic_prefix: String,
    /// Base URL of the provider
    #[arg(long, env)]
    pub provider_url: String,
    #[command(flatten)]
    pub provider_access: ProviderAccess,
}

/// Whom to trust at the provider's address, and how to say who asks.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ProviderAccess {
    /// Sent to the provider as Bearer authorization; better `PROVIDER_TOKEN_FILE`, a file that it stands in
    #[arg(long, env, hide_env_values = true)]
    pub provider_token: Option<SecretString>,
    /// Who signs the provider's certificate, a PEM file; without it, whom the system trusts
    #[arg(long, env)]
    pub provider_ca_file: Option<PathBuf>,
}

impl Sources {
    /// The brokers, with what `KAFKA_<SETTING>` says in the environment.
    pub(crate) fn brokers(&self) -> Result<Brokers, SettingError> {
        Brokers::with_environment(&self.kafka_brokers)
    }
}
