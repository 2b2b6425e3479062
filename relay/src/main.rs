//! The relay process: `relay` to relay, `relay doctor` for what to set, `relay parked` for what Kafka refuses,
//! `relay connector` for what mode debezium has in Kafka Connect, `relay healthy` for a container's health.

use std::process::ExitCode;

use anyhow::Context as _;
use axum::Router;
use chassis::config::{HttpConfig, LogConfig};
use chassis::database::Schema;
use chassis::health::{self, Readiness};
use chassis::{Service, database, kafka};
use clap::Parser;
use futures_util::FutureExt as _;
use relay::cli;
use relay::config::Config;
use relay::progress::Progress;
use relay::{SERVICE, driver, pending, slot};

/// Publishes the events of an outbox to Kafka and deletes them; one process a database, or several
#[derive(Debug, Parser)]
#[command(name = SERVICE, version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    config: Config,
    #[command(flatten)]
    process: ProcessConfig,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    #[command(flatten)]
    OfOutbox(cli::Command),
    /// Asks the running relay whether it is ready, at `ADMIN_LISTEN`; exit code 1 when it is not
    Healthy,
}

/// Settings of the process, whatever it relays.
#[derive(Debug, clap::Args)]
struct ProcessConfig {
    /// Address to serve /livez, /readyz and /metrics on
    #[arg(long, env, default_value = "127.0.0.1:8084")]
    admin_listen: String,
    /// Limits of the HTTP server
    #[command(flatten)]
    http: HttpConfig,
    /// How to log
    #[command(flatten)]
    log: LogConfig,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let cli: Cli = chassis::config::parse();
    match cli.command {
        Some(Command::OfOutbox(command)) => {
            return cli::run(&command, &cli.config, &mut std::io::stdout()).await;
        }
        Some(Command::Healthy) => health::ask(&cli.process.admin_listen).await?,
        None => serve(cli.config, &cli.process).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn serve(config: Config, process: &ProcessConfig) -> anyhow::Result<()> {
    let service = Service::start(SERVICE, &process.log)?;
    chassis::metrics::describe(relay::METRICS);
    chassis::metrics::from_zero(&[
        "relay_connector_restarts_total",
        "relay_deleted_total",
        "relay_delivery_errors_total",
        "relay_published_total",
        "relay_refused_total",
    ]);
    let stop = service.stop_token();
    let progress = Progress::default();
    let pool = database::pool(&config.database, SERVICE)?;
    let probe = kafka::Probe::new(&config.kafka.brokers()?, SERVICE)?;

    // The gauges, on connections of their own, and the relaying.
    let mode = config.relay_mode;
    let pending = pending::run(pool.clone(), progress.clone(), stop.clone());
    service.spawn("pending events", pending.map(Ok));
    if let Some(publication) = slot::publication(mode) {
        let gauges = slot::gauges::run(pool.clone(), publication, stop.clone());
        service.spawn("slot gauges", gauges.map(Ok));
    }
    service.spawn(mode.name(), driver::run(config, progress.clone(), stop));

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
        .serve_operators(
            &process.admin_listen,
            &process.http,
            readiness,
            Router::new(),
        )
        .await
        .context("serving operators")?;
    service.run(process.http.drain()).await
}
