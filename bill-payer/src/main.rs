//! The bill-payer process: `bill-payer migrate`, and `bill-payer` to serve.

use std::sync::Arc;

use anyhow::Context as _;
use bill_payer::config::Config;
use bill_payer::executor::Executor;
use bill_payer::intake::Intake;
use bill_payer::provider::Provider;
use bill_payer::{MIGRATIONS, SERVICE, gauges, http};
use chassis::consumer::{Consumer, ConsumerConfig};
use chassis::{Service, database, health::Readiness, kafka};
use clap::Parser;
use tokio::sync::Notify;
use tracing::info;

/// Bills, paid at the provider
#[derive(Debug, Parser)]
#[command(name = SERVICE, version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    config: Config,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Bring the database up to date, and end
    Migrate,
}

/// Bills of one transaction of the intake at the most.
const BILLS_BATCH_MAX: usize = 500;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Cli { command, config } = Cli::parse();
    let service = Service::start(SERVICE, &config.log)?;
    match command {
        Some(Command::Migrate) => {
            let sources = vec![outbox::MIGRATIONS, MIGRATIONS];
            let applied = database::migrate(&config.database.database_url, sources).await?;
            info!(
                applied = applied.len(),
                "the bill-payer database is up to date"
            );
            Ok(())
        }
        None => serve(service, config).await,
    }
}

async fn serve(service: Service, config: Config) -> anyhow::Result<()> {
    config.check()?;
    let pool = database::pool(&config.database, SERVICE)?;
    let provider = Provider::new(&config.provider, config.executor.slots())?;
    let probe = kafka::Probe::new(&config.kafka.kafka_brokers, SERVICE)?;
    let new_bills = Arc::new(Notify::new());
    let executor = Executor::new(
        config.executor,
        pool.clone(),
        provider,
        Arc::clone(&new_bills),
    );
    let requests = ConsumerConfig {
        brokers: config.kafka.kafka_brokers.clone(),
        group: config.kafka.prefixed(SERVICE),
        topic: config.kafka.prefixed(events::WALLET_TOPIC),
        batch_records_max: BILLS_BATCH_MAX,
    };
    let intake = Consumer::new(requests, Intake::new(pool.clone(), new_bills))?;
    service.spawn("intake", intake.run(service.stop_token()));
    service.spawn("executor", executor.run(service.stop_token()));
    service.spawn("gauges", gauges::run(pool.clone(), service.stop_token()));
    let checked = pool.clone();
    let readiness = Readiness::new()
        .require("database", move || database::check(checked.clone()))
        .require("kafka", move || probe.clone().check());
    service
        .serve(&config.listen, &config.http, readiness, http::routes(pool))
        .await
        .context("starting the HTTP server")?;
    service.run().await
}
