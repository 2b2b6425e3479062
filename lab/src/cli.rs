//! The commands.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::Settings;
use crate::home::Home;
use crate::relay_mode::RelayMode;
use crate::{audit, bench, detach, down, orders, services, status, terminal, trace, up};

/// Runs the whole system on this machine: PostgreSQL, Kafka and every service
#[derive(Debug, clap::Parser)]
#[command(name = "lab", after_help = AFTER_HELP)]
pub struct Cli {
    /// Where data, logs and notes are kept
    #[arg(long, env = "LAB_DIR", default_value = ".dev", global = true)]
    dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "The services inherit the environment: LOG=debug ./dev up, \
    PAY_PATTERN=listen-to-yourself ./dev up, and so on for every variable of their own --help.";

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Starts everything, shows one payment, and runs until Ctrl-C
    Up(Box<Up>),
    /// Stops everything that `up` started, also what a killed `up` has left behind
    Down,
    /// Shows each part and its state; exit code 0 when all are ready
    Status,
    /// Restarts the relays of the running system in another mode
    Relay {
        /// The mode
        #[arg(value_enum)]
        mode: RelayMode,
    },
    /// Runs a command with a PostgreSQL, a Kafka and a Kafka Connect of its own, fresh, and removes them afterwards
    ///
    /// The command finds them in `TEST_DATABASE_URL`, `TEST_KAFKA_BROKERS` and `TEST_CONNECT_URL`. A variable that
    /// is set already is used as it is, and that server is not started.
    Services(services::Services),
    /// Tells what became of every payment, by what each part says of it; exit code 1 if anything is wrong
    Audit(Box<audit::Audit>),
    /// Tells the life of one payment
    Trace(Box<trace::TraceCommand>),
    /// Measures on a PostgreSQL and a Kafka of its own, beside peers that do the same work
    Bench(bench::Bench),
}

#[derive(Debug, clap::Args)]
struct Up {
    /// Return when the system is ready, and leave it running: `down` stops it
    #[arg(long)]
    detach: bool,
    /// Set by `--detach` for the process that stays
    #[arg(long, hide = true)]
    detached: bool,
    #[command(flatten)]
    settings: Settings,
}

/// Runs the command and tells how it ended; what went wrong has then been printed.
pub async fn run(cli: Cli) -> ExitCode {
    let outcome = match Home::new(&cli.dir) {
        Ok(home) => match cli.command {
            Command::Up(up) if up.detached => {
                up::run(&home, &up.settings, up::Mode::Detached).await
            }
            Command::Up(up) if up.detach => detach::run(&home).await,
            Command::Up(up) => up::run(&home, &up.settings, up::Mode::Foreground).await,
            Command::Down => down::run(&home).await,
            Command::Status => status::run(&home).await,
            Command::Relay { mode } => {
                let switched = orders::switch_relays(&home, mode).await;
                switched.map(|()| ExitCode::SUCCESS)
            }
            Command::Services(services) => services::run(&home, services).await,
            Command::Audit(audit) => audit::run(&home, *audit).await,
            Command::Trace(trace) => trace::run(&home, *trace).await,
            Command::Bench(bench) => bench::run(&home, bench).await,
        },
        Err(error) => Err(error),
    };
    outcome.unwrap_or_else(|error| {
        terminal::error(&error);
        ExitCode::FAILURE
    })
}
