//! `relay doctor`: looks at a database and a broker, and says what is right and what to set.
//!
//! | step | file | what |
//! | --- | --- | --- |
//! | 1 | `database`, `broker` | ask for facts: plain values |
//! | 2 | `database`, `broker` | judge them, in pure code: one list of checks each |
//! | 3 | `finding` | print: a line for each check, or JSON |
//!
//! The doctor changes nothing, and needs no relay that is running. A server that does not respond is a finding, too.

mod broker;
mod database;
mod finding;

use std::io::Write;

use anyhow::Context as _;
use chassis::telemetry::chain;

use crate::SERVICE;
use crate::config::Config;
#[cfg(feature = "debezium")]
use crate::debezium::connect::Connect;
#[cfg(feature = "debezium")]
use crate::relay_mode::RelayMode;
use finding::{Finding, Verdict};

/// What the doctor is to look at, and what the system has to survive.
#[derive(Debug, Clone, clap::Args)]
pub struct Expectations {
    /// Topics to look at, besides those of the events in the outbox; `TOPIC_PREFIX` stands before each
    #[arg(long = "topic", env = "DOCTOR_TOPICS", value_delimiter = ',')]
    topics: Vec<String>,
    /// Replicas that each topic must have. With 1 you accept that a broken disk loses events
    #[arg(long, env, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    replicas_min: u32,
    /// Hours for which the consumers keep their inbox: the `RETENTION_H` of wallet-api and bill-payer
    #[arg(long, env, default_value_t = 336, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    retention_h: u32,
    /// Hours that a consumer may be stopped at most: Kafka has to keep its events for longer
    #[arg(long, env, default_value_t = 72, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    consumer_stop_h_max: u32,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Examines, writes the findings to `out`, and returns whether every promise would hold.
///
/// # Errors
/// `out` can't be written.
pub async fn run(
    expectations: &Expectations,
    config: &Config,
    out: &mut impl Write,
) -> anyhow::Result<bool> {
    let mut findings = Vec::new();
    let mut topics = expectations.topics.clone();
    match examine_database(config).await {
        Ok(facts) => {
            findings.extend(database::judge(&facts, config));
            topics.extend(facts.topics());
        }
        Err(error) => findings.push(no_connection("PostgreSQL", "DATABASE_URL", &error)),
    }
    topics.sort();
    topics.dedup();
    match broker::examine(&config.kafka, &topics).await {
        Ok(facts) => findings.extend(broker::judge(&facts, config, expectations)),
        Err(error) => findings.push(no_connection("Kafka", "KAFKA_BROKERS", &error)),
    }
    #[cfg(feature = "debezium")]
    if config.relay_mode == RelayMode::Debezium {
        findings.push(kafka_connect(config).await);
    }
    if expectations.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&findings)?)?;
    } else {
        write!(out, "{}", finding::text(&findings))?;
    }
    Ok(findings
        .iter()
        .all(|finding| finding.verdict != Verdict::Wrong))
}

#[cfg(feature = "debezium")]
async fn kafka_connect(config: &Config) -> Finding {
    let check = "Kafka Connect";
    let asked = async { Connect::new(&config.connect)?.version().await };
    match asked.await {
        Ok(version) => Finding::ok(check, version),
        Err(error) => Finding::wrong(
            check,
            chain(&error),
            "start Kafka Connect with Debezium's plugin, correct CONNECT_URL, or relay in another mode",
        ),
    }
}

async fn examine_database(config: &Config) -> anyhow::Result<database::Facts> {
    let target = config.database.target()?;
    // A pooler that shares sessions is a finding of its own.
    target.refuse_transaction_pooling().await?;
    let mut conn = target.connect(SERVICE).await.context("connecting")?;
    database::examine(&mut conn, config.relay_mode).await
}

fn no_connection(check: &'static str, setting: &str, error: &anyhow::Error) -> Finding {
    Finding::wrong(
        check,
        chain(error.as_ref()),
        format!(
            "correct {setting}, or what the error names; nothing else could be looked at there"
        ),
    )
}
