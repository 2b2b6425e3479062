//! The wallet-api process: `wallet-api` to serve, `wallet-api migrate`, and what an operator does about dead letters.

use std::sync::Arc;

use anyhow::Context as _;
use chassis::consumer::{Consumer, ConsumerConfig};
use chassis::database::{self, Pool, Schema};
use chassis::housekeeping::{Housekeeping, Nothing};
use chassis::operator::Actions;
use chassis::{Service, dead_letters, health::Readiness};
use clap::Parser;
use tracing::info;
use wallet_api::config::Config;
use wallet_api::dead_letters::Letters;
use wallet_api::group_commit::group_commit;
use wallet_api::http::{self, App};
use wallet_api::patterns::{COMMANDS_BATCH_MAX, Commands, Patience, Patterns, Publisher};
use wallet_api::settlement::Settlement;
use wallet_api::{MIGRATIONS, SERVICE};

/// Wallets and their payments over HTTP
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
    /// Messages that could not be taken, and what to do about them
    #[command(subcommand)]
    DeadLetters(dead_letters::cli::Command),
    /// What operators did
    OperatorActions(Actions),
}

/// Results of one transaction of the settlement at the most.
const RESULTS_BATCH_MAX: usize = 500;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Cli { command, config } = Cli::parse();
    let out = &mut std::io::stdout();
    let pool = || database::pool(&config.database, SERVICE);
    match command {
        None => serve(&config).await,
        Some(Command::DeadLetters(command)) => {
            let pool = pool()?;
            let letters = Letters::new(Settlement::new(pool.clone()));
            dead_letters::cli::run(&command, &pool, &letters, out).await
        }
        Some(Command::OperatorActions(command)) => command.run(&pool()?, out).await,
        Some(Command::Migrate) => {
            let _service = Service::start(SERVICE, &config.log)?;
            let sources = vec![outbox::MIGRATIONS, MIGRATIONS];
            let applied = database::migrate(&config.database.database_url, sources).await?;
            info!(applied = applied.len(), "the wallet database is up to date");
            Ok(())
        }
    }
}

async fn serve(config: &Config) -> anyhow::Result<()> {
    let lab = config.pattern.lab()?;
    let service = Service::start(SERVICE, &config.log)?;
    let pool = database::pool(&config.database, SERVICE)?;
    let (queue, writers) = group_commit(&config.writer, &pool);
    for writer in writers {
        service.spawn("payment writer", writer.run());
    }
    let results = ConsumerConfig {
        brokers: config.kafka.kafka_brokers.clone(),
        group: config.kafka.prefixed(SERVICE),
        topic: config.kafka.prefixed(events::BILL_TOPIC),
        batch_records_max: RESULTS_BATCH_MAX,
    };
    let results = Consumer::new(results, Settlement::new(pool.clone()))?;
    service.spawn("settlement", results.run(service.stop_token()));
    // Whatever the pattern: commands that were accepted before a change of it are still to be carried out.
    let commands = commands(&service, config, &pool)?;
    service.spawn("commands", commands.run(service.stop_token()));
    let patience = Patience::Within(config.pattern.publish_timeout());
    let publisher = Publisher::new(&config.kafka, patience);
    let app = App {
        payments: Arc::new(Patterns::new(queue, pool.clone(), publisher)),
        pattern: config.pattern.pay_pattern,
        lab,
        pool: pool.clone(),
    };
    let kept = config.housekeeping.clone();
    Housekeeping::new(pool.clone(), kept, Nothing).spawn(
        &service,
        &config.kafka,
        events::BILL_TOPIC,
    );
    let schema = Schema::of(
        &[outbox::MIGRATIONS, MIGRATIONS],
        "run `wallet-api migrate`",
    )?;
    // Not Kafka: payments are accepted while it is away, and settled when it is back.
    let readiness = Readiness::new().require("database", move || {
        database::check(pool.clone(), schema.clone())
    });
    service
        .serve(&config.listen, &config.http, readiness, http::routes(app))
        .await
        .context("starting the HTTP server")?;
    service.run().await
}

fn commands(service: &Service, config: &Config, pool: &Pool) -> anyhow::Result<Consumer<Commands>> {
    let publisher = Publisher::new(&config.kafka, Patience::Endless);
    let handler = Commands::new(pool.clone(), publisher, service.stop_token());
    let commands = ConsumerConfig {
        brokers: config.kafka.kafka_brokers.clone(),
        group: config.kafka.prefixed(&format!("{SERVICE}-commands")),
        topic: config.kafka.prefixed(events::COMMAND_TOPIC),
        batch_records_max: COMMANDS_BATCH_MAX,
    };
    Consumer::new(commands, handler)
}
