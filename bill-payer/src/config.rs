//! The service's settings.

use std::path::PathBuf;
use std::time::Duration;

use chassis::Backoff;
use chassis::access::AccessConfig;
use chassis::config::{DatabaseConfig, HttpConfig, IntakeConfig, KafkaConfig, LogConfig};
use operations::housekeeping::HousekeepingConfig;
use secrecy::SecretString;

use crate::domain::Policy;

/// How much longer a lease has to be than a call: time for the claim and the record.
const LEASE_MARGIN_MS: u64 = 2_000;

/// Everything that can be set; `bill-payer --help` lists it.
#[derive(Debug, Clone, clap::Args)]
pub struct Config {
    /// Address to serve operators on, with /livez, /readyz and /metrics
    #[arg(long, env, default_value = "127.0.0.1:8081")]
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
    pub provider: ProviderConfig,
    #[command(flatten)]
    pub executor: ExecutorConfig,
    #[command(flatten)]
    pub housekeeping: HousekeepingConfig,
}

/// Where the provider is, and how long to wait for it.
#[derive(Debug, Clone, clap::Args)]
pub struct ProviderConfig {
    /// Base URL of the provider, http:// or https://; a user and a password in it are sent as Basic authorization. Or
    /// `PROVIDER_URL_FILE`, a file that it stands in
    #[arg(
        long,
        env,
        default_value = "http://127.0.0.1:8082",
        hide_env_values = true
    )]
    pub provider_url: SecretString,
    /// Sent to the provider as Bearer authorization; better `PROVIDER_TOKEN_FILE`, a file that it stands in
    #[arg(long, env, hide_env_values = true)]
    pub provider_token: Option<SecretString>,
    /// Who signs the provider's certificate, a PEM file; without it, whom the system trusts
    #[arg(long, env)]
    pub provider_ca_file: Option<PathBuf>,
    /// Milliseconds to wait for a connection to the provider
    #[arg(long, env, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub provider_connect_timeout_ms: u64,
    /// Milliseconds to wait for the provider's whole reply. Too low: slow replies are asked for again
    /// and again. Too high: hung calls hold their slots.
    #[arg(long, env, default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub provider_call_timeout_ms: u64,
}

/// How bills are worked on.
#[derive(Debug, Clone, clap::Args)]
pub struct ExecutorConfig {
    /// Calls of the provider at a time, without those that are slow. Too low: bills wait. Too high: the
    /// provider is overrun, and a crash leaves more bills to wait for their lease.
    #[arg(long, env, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4_096))]
    pub calls_in_flight_max: u16,
    /// Milliseconds after which a call counts as slow, and leaves its slot to another one
    #[arg(long, env, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub slow_call_ms: u64,
    /// Slow calls at a time; further ones keep the slots of quick calls. Too low: calls that hang block
    /// other bills. Too high: a provider that is slow because it is overrun gets even more calls.
    #[arg(long, env, default_value_t = 192, value_parser = clap::value_parser!(u16).range(0..=4_096))]
    pub slow_calls_max: u16,
    /// Milliseconds for which a bill belongs to the executor that has claimed it. Must outlast a call
    /// by two seconds. Too high: the bills of a killed executor wait that long.
    #[arg(long, env, default_value_t = 10_000)]
    pub claim_lease_ms: u64,
    /// Calls to pay a bill without a result before it is cancelled. Too low: a short outage of the
    /// provider cancels bills. Too high: the customer's money hangs.
    #[arg(long, env, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub pay_attempts_max: u32,
    /// Milliseconds for which calls to pay a bill may fail before it is cancelled, whatever attempts are
    /// left. The time of an outage counts only for bills that failed before it was noticed. Too low:
    /// a slow provider's bills are cancelled. Too high: the customer's money hangs.
    #[arg(long, env, default_value_t = 900_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub pay_deadline_ms: u64,
    /// Calls to cancel a bill without a result before it is parked for an operator
    #[arg(long, env, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub cancel_attempts_max: u32,
    /// Milliseconds for which calls to cancel a bill may fail before it is parked for an operator, also in an
    /// outage. Too low: operators are called for what would have passed. Too high: they hear late.
    #[arg(long, env, default_value_t = 3_600_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub cancel_deadline_ms: u64,
    /// Milliseconds before the second call for a bill, at most; doubled for each further one
    #[arg(long, env, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
    pub retry_first_ms: u64,
    /// Milliseconds between two calls for a bill, at most. Too low: an outage is hammered. Too high:
    /// its end is noticed late.
    #[arg(long, env, default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub retry_max_ms: u64,
    /// Milliseconds for which the provider's own `Retry-After` is obeyed, at most. Too low: a provider
    /// that asks for quiet is called early. Too high: a wrong header blocks bills.
    #[arg(long, env, default_value_t = 300_000)]
    pub retry_after_max_ms: u64,
    /// Calls of a kind (to pay, to cancel) that fail in a row until the provider counts as away, and only
    /// probes are made. Those that opened it have used an attempt of their bills, so keep it below
    /// `PAY_ATTEMPTS_MAX`. Too low: a bad minute stops all bills. Too high: an outage uses attempts up.
    #[arg(long, env, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub breaker_failures_max: u32,
    /// Milliseconds until the first probe of a provider that is away, at most; doubled for each
    /// further one
    #[arg(long, env, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    pub breaker_first_ms: u64,
    /// Milliseconds between two probes, at most: how much later than it ends an outage is noticed
    #[arg(long, env, default_value_t = 15_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub breaker_max_ms: u64,
}

/// Two settings that contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Another executor would take a bill while the first one's call may still succeed.
    #[error(
        "CLAIM_LEASE_MS={lease_ms} is too short for PROVIDER_CALL_TIMEOUT_MS={call_timeout_ms}: set it to {} or more",
        call_timeout_ms.saturating_add(LEASE_MARGIN_MS)
    )]
    LeaseTooShort { lease_ms: u64, call_timeout_ms: u64 },
    /// A lone bill would use its attempts up before the breaker opens.
    #[error(
        "BREAKER_FAILURES_MAX={failures_max} must be below PAY_ATTEMPTS_MAX={attempts_max}: else an outage cancels bills before it is noticed"
    )]
    BreakerTooSlow {
        failures_max: u32,
        attempts_max: u32,
    },
}

impl Config {
    /// Finds the first pair of settings that contradict each other.
    pub fn check(&self) -> Result<(), ConfigError> {
        let lease_ms = self.executor.claim_lease_ms;
        let call_timeout_ms = self.provider.provider_call_timeout_ms;
        if lease_ms < call_timeout_ms.saturating_add(LEASE_MARGIN_MS) {
            return Err(ConfigError::LeaseTooShort {
                lease_ms,
                call_timeout_ms,
            });
        }
        let failures_max = self.executor.breaker_failures_max;
        let attempts_max = self.executor.pay_attempts_max;
        if failures_max >= attempts_max {
            return Err(ConfigError::BreakerTooSlow {
                failures_max,
                attempts_max,
            });
        }
        Ok(())
    }
}

impl ProviderConfig {
    pub(crate) const fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.provider_connect_timeout_ms)
    }

    pub(crate) const fn call_timeout(&self) -> Duration {
        Duration::from_millis(self.provider_call_timeout_ms)
    }
}

impl ExecutorConfig {
    #[must_use]
    pub fn calls_max(&self) -> usize {
        usize::from(self.calls_in_flight_max) + usize::from(self.slow_calls_max)
    }

    pub(crate) const fn lease(&self) -> Duration {
        Duration::from_millis(self.claim_lease_ms)
    }

    pub(crate) const fn policy(&self) -> Policy {
        Policy {
            pay_attempts_max: self.pay_attempts_max,
            pay_deadline: Duration::from_millis(self.pay_deadline_ms),
            cancel_attempts_max: self.cancel_attempts_max,
            cancel_deadline: Duration::from_millis(self.cancel_deadline_ms),
        }
    }

    pub(crate) const fn backoff(&self) -> Backoff {
        Backoff {
            first: Duration::from_millis(self.retry_first_ms),
            max: Duration::from_millis(self.retry_max_ms),
        }
    }

    pub(crate) const fn breaker_backoff(&self) -> Backoff {
        Backoff {
            first: Duration::from_millis(self.breaker_first_ms),
            max: Duration::from_millis(self.breaker_max_ms),
        }
    }

    pub(crate) const fn retry_after_max(&self) -> Duration {
        Duration::from_millis(self.retry_after_max_ms)
    }
}
