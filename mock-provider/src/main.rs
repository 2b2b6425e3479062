//! The mock provider's process.

use clap::Parser;
use mock_provider::{Provider, ProviderConfig};

/// The Wi-Fi provider, mocked: takes payments, and misbehaves as PUT /behaviour tells it to
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    provider: ProviderConfig,
    #[command(flatten)]
    log: chassis::config::LogConfig,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Ask the running provider whether it is ready, at `LISTEN`; exit code 1 when it is not
    Healthy,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    if let Some(Command::Healthy) = cli.command {
        return chassis::health::ask(&cli.provider.listen).await;
    }
    let service = chassis::Service::start("mock-provider", &cli.log)?;
    let provider = Provider::start_with_metrics(cli.provider, service.metrics()).await?;
    let stop = service.stop_token();
    service.spawn("HTTP server", async move { Ok(provider.run(stop).await?) });
    service.run(std::time::Duration::ZERO).await
}
