//! `lab bench`: what the system does a second, against peers that do the same work on the same servers.
//!
//! Figures of one machine mean little; what counts are ratios to a peer, of runs that alternate with
//! the peer's. PostgreSQL and Kafka are this command's own, with full durability, and are removed with
//! everything else when it ends, also when it ends by a signal.

mod cpu;
mod database;
mod pay;
mod payer;
mod plan;
mod relay;
mod relay_under_test;
mod report;
mod stage;
mod stats;
mod table;
mod targets;

use std::path::PathBuf;
use std::time::Duration;

use lab_stack::home::Home;
use lab_stack::servers::{FreshServers, GivenServers};
use lab_stack::sources::Durability;
use lab_stack::stop_signal::StopSignal;

use self::plan::Plan;
use self::report::Report;
use self::stage::Stage;

const RESULTS: &str = "docs/results";

#[derive(Debug, clap::Args)]
pub struct Bench {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    given: GivenServers,
    /// How many times to measure each; the medians count
    #[arg(long, global = true, value_parser = clap::value_parser!(u32).range(1..=99))]
    runs: Option<u32>,
    /// How long one measurement takes, where that is a choice
    #[arg(long, global = true, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: Option<u64>,
    /// Only the measurements with this text in their names; may be given several times. The results page
    /// is then not written
    #[arg(long, global = true)]
    only: Vec<String>,
    /// Tiny sizes: shows that it works, and measures nothing; the results page is not written
    #[arg(long, global = true)]
    quick: bool,
    /// Folder to write the results page to [default: docs/results]
    #[arg(long, global = true)]
    out: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Payments through wallet-api, against pgbench with the same payment
    Pay(pay::Sizes),
    /// Bills through bill-payer, with a provider that takes its time or hangs
    Payer(payer::Sizes),
    /// The outbox to Kafka in each relay mode, against what PostgreSQL alone can do
    Relay(relay::Sizes),
}

/// Measures, prints what was found, and writes it down.
pub async fn run(home: &Home, bench: Bench) -> anyhow::Result<bool> {
    let mut stop = StopSignal::catch()?;
    let mut fresh = FreshServers::begin(home).await?;
    let measured = tokio::select! {
        measured = measure(home, &mut fresh, &bench) => measured.map(Some),
        _signal = stop.recv() => Ok(None),
    };
    fresh.supervisor.stop_clients().await;
    let cleared = match &bench.given.test_database_url {
        Some(server) => database::drop_all(server).await,
        None => Ok(()),
    };
    fresh.end().await?;
    let Some((name, report)) = measured? else {
        return Ok(false);
    };
    cleared?;
    let is_whole = !bench.quick && bench.only.is_empty();
    let out = bench.out.or_else(|| is_whole.then(|| RESULTS.into()));
    report.publish(name, out.as_deref())?;
    Ok(true)
}

async fn measure(
    home: &Home,
    fresh: &mut FreshServers,
    bench: &Bench,
) -> anyhow::Result<(&'static str, Report)> {
    let servers = fresh
        .servers(home, &bench.given, Durability::Full, false)
        .await?;
    let mut stage = Stage::new(fresh, home, servers)?;
    let plan = |runs: u32, seconds: u64| Plan {
        runs: bench.runs.unwrap_or(if bench.quick { 1 } else { runs }),
        time: Duration::from_secs(
            bench
                .seconds
                .unwrap_or(if bench.quick { 1 } else { seconds }),
        ),
        only: bench.only.clone(),
        quick: bench.quick,
    };
    let measured = match &bench.what {
        What::Pay(sizes) => ("pay", pay::measure(&mut stage, sizes, &plan(3, 6)).await?),
        What::Payer(sizes) => (
            "payer",
            payer::measure(&mut stage, sizes, &plan(3, 1)).await?,
        ),
        What::Relay(sizes) => (
            "relay",
            relay::measure(&mut stage, sizes, &plan(3, 10)).await?,
        ),
    };
    anyhow::ensure!(
        fresh.process_table.restarts().await == 0,
        "the measurements are void: a part died and was started again"
    );
    Ok(measured)
}
