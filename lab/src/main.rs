//! The `lab` command: see `--help`.

use std::process::ExitCode;

use clap::Parser as _;

#[tokio::main]
async fn main() -> ExitCode {
    lab::run(lab::Cli::parse()).await
}
