//! The `audit` command: see `--help`.

use std::process::ExitCode;

use audit::trace::TraceArgs;
use audit::{AuditArgs, Sources};

const ABOUT: &str = "Tells what became of every payment

Reads what each part says of each payment (the wallet database, the topics of Kafka, bill-payer's database, the \
provider's list), joins it, and reports what does not fit: payments that are lost, paid twice, refunded though paid, \
stuck or unknown to a part, fields that differ, events out of order, a ledger that does not balance. A system at work \
raises no false alarm.

It only reads. The rows that it joins are in temporary tables of its own session on the wallet database's server, which \
may need some disk there; it joins no consumer group and commits no offset. Each setting is a flag or an environment \
variable.";

const EXIT_CODES: &str = "Exit codes: 0 nothing is wrong; 1 the audit has findings, or nobody knows the payment; \
    2 the audit could not be made: the error says what could not be read.";

#[derive(Debug, clap::Parser)]
#[command(name = "audit", about = ABOUT, after_help = EXIT_CODES)]
enum Command {
    /// Audits all payments, or those since a time
    Check {
        #[command(flatten)]
        audit: AuditArgs,
        #[command(flatten)]
        sources: Sources,
    },
    /// Tells the life of one payment, step by step
    Trace {
        #[command(flatten)]
        trace: TraceArgs,
        #[command(flatten)]
        sources: Sources,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match chassis::config::parse() {
        Command::Check { audit, sources } => audit.run(&sources).await,
        Command::Trace { trace, sources } => trace.run(&sources).await,
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            lab_terminal::error(&error);
            ExitCode::from(2)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_flags_of_the_subcommands_go_together() {
        Command::command().debug_assert();
    }
}
