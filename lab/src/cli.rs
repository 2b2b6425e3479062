//! The commands.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, FromArgMatches as _};
use lab_bench::Bench;
use lab_stack::config::Settings;
use lab_stack::home::Home;
use lab_stack::relay_mode::RelayMode;
use lab_terminal as terminal;

use crate::settings_in_force::{self, Setting};
use crate::source_flags::SourceFlags;
use crate::{detach, down, relay, services, status, up};

/// Runs the whole system on this machine: PostgreSQL, Kafka and every service
#[derive(Debug, clap::Parser)]
#[command(name = "lab", bin_name = "./dev", after_help = AFTER_HELP)]
struct Cli {
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
    Audit {
        #[command(flatten)]
        audit: audit::AuditArgs,
        #[command(flatten)]
        flags: Box<SourceFlags>,
    },
    /// Tells the life of one payment
    Trace {
        #[command(flatten)]
        trace: audit::trace::TraceArgs,
        #[command(flatten)]
        flags: Box<SourceFlags>,
    },
    /// Measures on a PostgreSQL and a Kafka of its own, against peers that do the same work
    Bench(Bench),
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

/// Runs the command of the command line and tells how it ended; what went wrong has then been printed.
pub async fn run() -> ExitCode {
    let mut command = Cli::command();
    let matches = command.get_matches_mut();
    let settings = match (command.find_subcommand("up"), matches.subcommand()) {
        (Some(up), Some(("up", matches))) => settings_in_force::of_up(up, matches),
        _ => Vec::new(),
    };
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    carry_out(cli, settings).await.unwrap_or_else(|error| {
        terminal::error(&error);
        ExitCode::FAILURE
    })
}

/// What to do when the audit or the trace fails: in the lab, all servers are those of `up`.
const NOT_READ: &str = "not everything could be read (./dev up starts what does not run)";

async fn carry_out(cli: Cli, settings: Vec<Setting>) -> anyhow::Result<ExitCode> {
    let home = Home::new(&cli.dir)?;
    let is_success = match cli.command {
        Command::Up(up) if up.detached => {
            up::run(&home, &up.settings, settings, up::Mode::Detached).await?
        }
        Command::Up(up) if up.detach => detach::run(&home).await?,
        Command::Up(up) => up::run(&home, &up.settings, settings, up::Mode::Foreground).await?,
        Command::Down => down::run(&home).await?,
        Command::Status => status::run(&home).await?,
        Command::Relay { mode } => relay::switch(&home, mode).await?,
        Command::Services(services) => return services::run(&home, services).await,
        Command::Audit { audit, flags } => {
            let sources = flags.sources(&home)?;
            audit.run(&sources).await.context(NOT_READ)?
        }
        Command::Trace { trace, flags } => {
            let sources = flags.sources(&home)?;
            trace.run(&sources).await.context(NOT_READ)?
        }
        Command::Bench(bench) => lab_bench::run(&home, bench).await?,
    };
    Ok(if is_success {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_and_their_flags_have_unique_names() {
        Cli::command().debug_assert();
    }
}
