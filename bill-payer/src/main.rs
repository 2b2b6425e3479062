//! The bill-payer process: `bill-payer` to serve, `bill-payer migrate`, and what an operator does about bills
//! and dead letters.

use std::sync::Arc;

use anyhow::Context as _;
use bill_payer::config::Config;
use bill_payer::executor::Executor;
use bill_payer::housekeeping::SettledBills;
use bill_payer::intake::Intake;
use bill_payer::provider::Provider;
use bill_payer::{METRICS, MIGRATIONS, ROLES, SERVICE, cli, gauges, http};
use chassis::access::Audience;
use chassis::consumer::{Consumer, ConsumerConfig};
use chassis::database::Schema;
use chassis::health::{self, Readiness};
use chassis::{Service, database, kafka, openapi};
use clap::Parser;
use operations::dead_letters;
use operations::housekeeping::Housekeeping;
use operations::operator::Actions;
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
    Migrate {
        /// Make the roles `bill_payer`, `bill_relay` and `auditor` too, if they are missing, and grant each what it needs. They
        /// can't log in before they are given a password
        #[arg(long)]
        roles: bool,
    },
    /// Ask the running process whether it is ready, at `ADMIN_LISTEN`; exit code 1 when it is not
    Healthy,
    /// Bills, and what to do about those that are parked
    #[command(subcommand)]
    Bills(cli::Command),
    /// Messages that could not be taken, and what to do about them
    #[command(subcommand)]
    DeadLetters(dead_letters::cli::Command),
    /// What operators did
    OperatorActions(Actions),
}

/// Bills in one transaction of the intake.
const BILLS_BATCH_MAX: usize = 500;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Cli { command, config } = chassis::config::parse();
    let out = &mut std::io::stdout();
    let pool = || database::pool(&config.database, SERVICE);
    match command {
        Some(Command::Healthy) => health::ask(&config.admin_listen).await,
        None => serve(config).await,
        Some(Command::Bills(command)) => cli::run(&command, &pool()?, out).await,
        Some(Command::DeadLetters(command)) => {
            let pool = pool()?;
            // Executors that run find new bills by themselves.
            let intake = Intake::new(pool.clone(), Arc::default());
            dead_letters::cli::run(&command, &pool, &intake, out).await
        }
        Some(Command::OperatorActions(command)) => command.run(&pool()?, out).await,
        Some(Command::Migrate { roles }) => {
            let _service = Service::start(SERVICE, &config.log)?;
            let sources = vec![outbox::MIGRATIONS, operations::MIGRATIONS, MIGRATIONS];
            let roles = roles.then_some(ROLES);
            let applied = database::migrate(&config.database.target()?, sources, roles).await?;
            info!(
                applied = applied.len(),
                "the bill-payer database is up to date"
            );
            Ok(())
        }
    }
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let service = Service::start(SERVICE, &config.log)?;
    chassis::metrics::describe(METRICS);
    chassis::metrics::describe(operations::METRICS);
    chassis::metrics::from_zero(&["bills_contradictions_total", "bills_stale_answers_total"]);
    config.check()?;
    let pool = database::pool(&config.database, SERVICE)?;
    let of_pool = operations::gauges::run(pool.clone(), service.stop_token());
    service.spawn("gauges of the pool", of_pool);
    let provider = Provider::new(&config.provider, config.executor.calls_max())?;
    let brokers = config.kafka.brokers()?;
    let probe = kafka::Probe::new(&brokers, SERVICE)?;
    let new_bills = Arc::new(Notify::new());
    let executor = Executor::new(
        config.executor,
        pool.clone(),
        provider,
        Arc::clone(&new_bills),
    );
    let requests = ConsumerConfig {
        brokers: brokers.clone(),
        group: config.kafka.prefixed(SERVICE),
        topic: config.kafka.prefixed(events::WALLET_TOPIC),
        batch_records_max: BILLS_BATCH_MAX,
        ignored_types: config.intake.ignored_event_types,
    };
    let intake = Intake::new(pool.clone(), new_bills);
    let requests = Consumer::new(requests, intake.clone())?;
    let progress = requests.health();
    service.spawn("intake", requests.run(service.stop_token()));
    service.spawn("executor", executor.run(service.stop_token()));
    service.spawn("gauges", gauges::run(pool.clone(), service.stop_token()));
    let kept = config.housekeeping.clone();
    Housekeeping::new(pool.clone(), kept, SettledBills::default()).spawn(
        &service,
        brokers,
        config.kafka.prefixed(events::WALLET_TOPIC),
    );
    let checked = pool.clone();
    let schema = Schema::of(
        &[outbox::MIGRATIONS, operations::MIGRATIONS, MIGRATIONS],
        "run `bill-payer migrate`",
    )?;
    let readiness = Readiness::new()
        .require("database", move || {
            database::check(checked.clone(), schema.clone())
        })
        .require("kafka", move || probe.clone().check())
        .require("intake", move || std::future::ready(progress.check()));
    let listens = [("ADMIN_LISTEN", config.admin_listen.as_str())];
    let access = service.access(&config.access, &listens).await?;
    let routes = access.guard(Audience::Operators, http::routes(pool, intake));
    let routes = routes.merge(openapi::routes(http::document()));
    service
        .serve_operators(&config.admin_listen, &config.http, readiness, routes)
        .await
        .context("serving operators")?;
    service.run(config.http.drain()).await
}
