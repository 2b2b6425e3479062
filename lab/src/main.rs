//! The `lab` command: see `--help`.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    lab::run().await
}
