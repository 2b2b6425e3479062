//! Logs: for people or as JSON, to standard output.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};
pub use crate::error_chain::chain;

/// What is silent unless `LOG` names it: the client of the replication stream says at level error that the
/// stream is lost, and returns that error too, to the relay, which says what it does about it.
const SILENT: &str = "pgwire_replication=off";

/// Starts logging for the process.
///
/// # Errors
/// The filter does not parse, or logging was started before.
pub fn init(config: &LogConfig) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(format!("{SILENT},{}", config.log))
        .with_context(|| format!("LOG=\"{}\" is not a log filter", config.log))?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stdout().is_terminal());
    match config.log_format {
        LogFormat::Pretty => subscriber.compact().try_init(),
        LogFormat::Json => subscriber
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .try_init(),
    }
    .map_err(|error| anyhow::anyhow!(error))
    .context("starting the log")
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}
