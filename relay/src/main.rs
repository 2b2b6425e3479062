//! The relay process: `relay` to relay, `relay parked` for what Kafka refuses, `relay connector` for what mode
//! debezium has in Kafka Connect.

use anyhow::Context as _;
use axum::Router;
use chassis::database::Schema;
use chassis::health::Readiness;
use chassis::{Service, database, kafka};
use clap::Parser;
use relay::cli::{self, Command};
use relay::config::{Config, RelayMode};
use relay::progress::Progress;
use relay::{SERVICE, cdc, debezium, pending, poller, slot};

/// Publishes the events of an outbox to Kafka and deletes them; one process a database, or several
#[derive(Debug, Parser)]
#[command(name = SERVICE, version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    config: Config,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Cli { command, config } = Cli::parse();
    match command {
        Some(command) => cli::run(&command, &config, &mut std::io::stdout()).await,
        None => serve(config).await,
    }
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let service = Service::start(SERVICE, &config.log)?;
    let stop = service.stop_token();
    let progress = Progress::default();
    let pool = database::pool(&config.database, SERVICE)?;
    let probe = kafka::Probe::new(&config.kafka.kafka_brokers, SERVICE)?;

    let pending = pending::run(pool.clone(), progress.clone(), stop.clone());
    service.spawn("pending events", pending);
    match config.relay_mode {
        RelayMode::Poller => {
            let poller = poller::run(config.clone(), progress.clone(), stop);
            service.spawn("poller", poller);
        }
        RelayMode::Cdc => {
            let gauges = slot::gauges::run(pool.clone(), slot::CDC, stop.clone());
            service.spawn("slot gauges", gauges);
            let cdc = cdc::run(config.clone(), progress.clone(), stop);
            service.spawn("cdc", cdc);
        }
        RelayMode::Debezium => {
            let gauges = slot::gauges::run(pool.clone(), slot::DEBEZIUM, stop.clone());
            service.spawn("slot gauges", gauges);
            let debezium = debezium::run(config.clone(), progress.clone(), stop);
            service.spawn("debezium", debezium);
        }
    }

    // The outbox is part of a service's database, and that service migrates it.
    let remedy = "run `wallet-api migrate` or `bill-payer migrate`, whichever owns the database";
    let schema = Schema::of(&[outbox::MIGRATIONS], remedy)?;
    let readiness = Readiness::new()
        .require("database", move || {
            database::check(pool.clone(), schema.clone())
        })
        .require("kafka", move || probe.clone().check())
        .require("progress", move || std::future::ready(progress.check()));
    service
        .serve(&config.listen, &config.http, readiness, Router::new())
        .await
        .context("starting the HTTP server")?;
    service.run().await
}
