//! The wallet-api process: `wallet-api` serves, `wallet-api migrate` updates the database, and the other commands are an
//! operator's, for dead letters and losses.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use chassis::access::Audience;
use chassis::consumer::{Consumer, ConsumerConfig, GroupLag};
use chassis::database::{self, Pool, Schema};
use chassis::health::{self, Readiness};
use chassis::kafka::SettingError;
use chassis::{RepeatedError, Service, openapi};
use clap::Parser;
use operations::dead_letters;
use operations::housekeeping::{Housekeeping, NoOwnTables};
use operations::operator::Actions;
use tokio_util::sync::CancellationToken;
use tracing::info;
use wallet_api::config::{CommandIntake, Config};
use wallet_api::dead_letters::DeadLetterHandler;
use wallet_api::group_commit::group_commit;
use wallet_api::http::{self, App};
use wallet_api::patterns::{COMMANDS_BATCH_MAX, Commands, MessageTimeout, Patterns, Publisher};
use wallet_api::settlement::Settlement;
use wallet_api::{METRICS, MIGRATIONS, ROLES, SERVICE, recovery};

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
    Migrate {
        /// Make the roles `wallet_api`, `wallet_relay` and `auditor` too, if they are missing, and grant each what it needs. They
        /// can't log in before they are given a password
        #[arg(long)]
        roles: bool,
    },
    /// Ask the running process whether it is ready, at `ADMIN_LISTEN`; exit code 1 when it is not
    Healthy,
    /// Messages that could not be taken, and what to do about them
    #[command(subcommand)]
    DeadLetters(dead_letters::cli::Command),
    /// Payments that were lost on their way, or by a restore of the database
    #[command(subcommand)]
    Payments(recovery::cli::Payments),
    /// Results of payments that were lost by a restore of the database
    #[command(subcommand)]
    Results(recovery::cli::Results),
    /// What operators did
    OperatorActions(Actions),
}

/// Results in one transaction of the settlement, at most.
const RESULTS_BATCH_MAX: usize = 500;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Cli { command, config } = chassis::config::parse();
    let out = &mut std::io::stdout();
    let pool = || database::pool(&config.database, SERVICE);
    match command {
        Some(Command::Healthy) => health::ask(&config.admin_listen).await,
        None => serve(&config).await,
        Some(Command::DeadLetters(command)) => {
            let pool = pool()?;
            let letters = DeadLetterHandler::new(Settlement::new(pool.clone()));
            dead_letters::cli::run(&command, &pool, &letters, out).await
        }
        Some(Command::Payments(command)) => command.run(&pool()?, &config.kafka, out).await,
        Some(Command::Results(command)) => {
            let (kafka, intake) = (&config.kafka, &config.intake);
            command.run(&pool()?, kafka, intake, out).await
        }
        Some(Command::OperatorActions(command)) => command.run(&pool()?, out).await,
        Some(Command::Migrate { roles }) => {
            let _service = Service::start(SERVICE, &config.log)?;
            let sources = vec![outbox::MIGRATIONS, operations::MIGRATIONS, MIGRATIONS];
            let roles = roles.then_some(ROLES);
            let applied = database::migrate(&config.database.target()?, sources, roles).await?;
            info!(applied = applied.len(), "the wallet database is up to date");
            Ok(())
        }
    }
}

async fn serve(config: &Config) -> anyhow::Result<()> {
    let lab = config.pattern.lab()?;
    let service = Service::start(SERVICE, &config.log)?;
    chassis::metrics::describe(METRICS);
    chassis::metrics::describe(operations::METRICS);
    let pool = database::pool(&config.database, SERVICE)?;
    let gauges = operations::gauges::run(pool.clone(), service.stop_token());
    service.spawn("gauges", gauges);
    // The group commit.
    let (queue, writers) = group_commit(&config.writer, &pool);
    for writer in writers {
        service.spawn("payment writer", writer.run());
    }
    // The consumer of results and, where the pattern needs it, that of commands.
    let results = consumer_config(config, SERVICE, events::BILL_TOPIC, RESULTS_BATCH_MAX)?;
    let results = Consumer::new(results, Settlement::new(pool.clone()))?;
    let settling = results.health();
    service.spawn("settlement", results.run(service.stop_token()));
    let mut readiness =
        Readiness::new().require("settlement", move || std::future::ready(settling.check()));
    match config.pattern.command_intake() {
        CommandIntake::Consume => {
            let commands = commands(&service, config, &pool)?;
            let debiting = commands.health();
            service.spawn("commands", commands.run(service.stop_token()));
            readiness = readiness.require("commands", move || std::future::ready(debiting.check()));
        }
        CommandIntake::Watch => {
            let watch = warn_of_commands(commands_config(config)?, service.stop_token());
            service.spawn("commands", watch);
        }
    }
    // The API.
    let timeout = MessageTimeout::After(config.pattern.publish_timeout());
    let publisher = Publisher::new(&config.kafka, timeout)?;
    let app = App {
        payments: Arc::new(Patterns::new(queue, pool.clone(), publisher)),
        pattern: config.pattern.pay_pattern,
        lab,
        pool: pool.clone(),
    };
    let housekeeping = config.housekeeping.clone();
    Housekeeping::new(pool.clone(), housekeeping, NoOwnTables).spawn(
        &service,
        config.kafka.brokers()?,
        config.kafka.prefixed(events::BILL_TOPIC),
    );
    let schema = Schema::of(
        &[outbox::MIGRATIONS, operations::MIGRATIONS, MIGRATIONS],
        "run `wallet-api migrate`",
    )?;
    // Kafka is not required: payments are accepted while it is away, and settled when it is back.
    let readiness = readiness.require("database", move || {
        database::check(pool.clone(), schema.clone())
    });
    let listens = [
        ("LISTEN", config.listen.as_str()),
        ("ADMIN_LISTEN", config.admin_listen.as_str()),
    ];
    let access = service.access(&config.access, &listens).await?;
    let operators = access.guard(Audience::Operators, http::operators_routes(&app.pool));
    let operators = operators.merge(openapi::routes(http::operators_document()));
    let customers = http::routes(app, &access);
    let customers = customers.merge(openapi::routes(http::customers_document()));
    service
        .serve_operators(&config.admin_listen, &config.http, readiness, operators)
        .await
        .context("serving operators")?;
    service
        .serve(&config.listen, &config.http, customers)
        .await
        .context("serving customers")?;
    service.run(config.http.drain()).await
}

fn commands(service: &Service, config: &Config, pool: &Pool) -> anyhow::Result<Consumer<Commands>> {
    let publisher = Publisher::new(&config.kafka, MessageTimeout::Never)?;
    let handler = Commands::new(pool.clone(), publisher, service.stop_token());
    Consumer::new(commands_config(config)?, handler)
}

fn commands_config(config: &Config) -> Result<ConsumerConfig, SettingError> {
    let group = format!("{SERVICE}-commands");
    consumer_config(config, &group, events::COMMAND_TOPIC, COMMANDS_BATCH_MAX)
}

fn consumer_config(
    config: &Config,
    group: &str,
    topic: &str,
    batch_max: usize,
) -> Result<ConsumerConfig, SettingError> {
    Ok(ConsumerConfig {
        brokers: config.kafka.brokers()?,
        group: config.kafka.prefixed(group),
        topic: config.kafka.prefixed(topic),
        batch_records_max: batch_max,
        ignored_types: config.intake.ignored_event_types.clone(),
    })
}

const LOOK_FOR_COMMANDS_EVERY: Duration = Duration::from_secs(10);

/// Warns while callers have been told "accepted" and nobody carries out their commands.
async fn warn_of_commands(config: ConsumerConfig, stop: CancellationToken) -> anyhow::Result<()> {
    let lag = GroupLag::new(&config)?;
    let waiting = RepeatedError::of("accepted payments that nobody carries out");
    let mut looks = tokio::time::interval(LOOK_FOR_COMMANDS_EVERY);
    while stop.run_until_cancelled(looks.tick()).await.is_some() {
        // A broker that is away is reported by the consumer of results.
        let Some(Ok(commands)) = stop.run_until_cancelled(lag.records()).await else {
            continue;
        };
        metrics::gauge!("payment_commands_waiting")
            .set(u32::try_from(commands).unwrap_or(u32::MAX));
        if commands > 0 {
            waiting.failed(format_args!(
                "{} holds {commands} commands: set DRAIN_COMMANDS=true",
                config.topic
            ));
        } else {
            waiting.succeeded();
        }
    }
    Ok(())
}
