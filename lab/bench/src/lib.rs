//! `lab bench`: what the system does a second, against peers that do the same work on the same servers.
//!
//! Figures of one machine mean little; what counts are ratios to a peer, of runs that alternate with
//! the peer's. PostgreSQL and Kafka are this command's own, with full durability, and are removed with
//! everything else when it ends, also when it ends by a signal.

mod cost;
mod cpu;
mod database;
mod delay;
mod latency;
mod memory;
mod pay;
mod payer;
mod plan;
mod plot;
mod rate;
mod relay;
mod relay_under_test;
mod report;
mod scale;
mod stage;
mod stats;
mod table;
mod targets;
mod topic;
mod wallet_api;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use lab_stack::home::Home;
use lab_stack::servers::{FreshServers, GivenServers};
use lab_stack::sources::Durability;
use lab_stack::stop_signal::StopSignal;
use lab_terminal as terminal;

use self::plan::Plan;
use self::report::Report;
use self::stage::Stage;
use self::targets::Target;

const RESULTS: &str = "docs/results";

#[derive(Debug, clap::Args)]
pub struct Bench {
    /// All of them, one after the other, if none is named
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    given: GivenServers,
    /// How many times to measure each; the medians count
    #[arg(long, global = true, value_parser = clap::value_parser!(u32).range(1..=99))]
    runs: Option<u32>,
    /// How long one measurement takes, where that is a choice
    #[arg(long, global = true, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: Option<u64>,
    /// The largest size of `scale` and `memory`: 10,000,000 payments take 20 GB of disk
    #[arg(long, global = true, default_value_t = 10_000_000, value_parser = clap::value_parser!(u32).range(100..=10_000_000))]
    largest: u32,
    /// Only the measurements with this text in their names; may be given several times. The results pages
    /// are then not written
    #[arg(long, global = true)]
    only: Vec<String>,
    /// Tiny sizes: shows that it works, and measures nothing; the results pages are not written
    #[arg(long, global = true)]
    quick: bool,
    /// Folder to write the results pages to [default: docs/results]
    #[arg(long, global = true)]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum What {
    /// Payments through wallet-api, against pgbench with the same payment
    Pay(pay::Sizes),
    /// Bills through bill-payer, with a provider that takes its time or hangs
    Payer(payer::Sizes),
    /// The outbox to Kafka in each relay mode, against what PostgreSQL alone can do
    Relay(relay::Sizes),
    /// From the request to the payment that is paid, through the whole system, in each relay mode
    Latency,
    /// What safety costs: payments with the outbox, against dual-write
    Cost,
    /// Whether the speed holds with millions of payments, wallets and events
    Scale,
    /// The relay's memory for one transaction of a million events
    Memory,
}

impl What {
    fn all() -> Vec<Self> {
        vec![
            Self::Pay(pay::Sizes::default()),
            Self::Payer(payer::Sizes::default()),
            Self::Relay(relay::Sizes::default()),
            Self::Latency,
            Self::Cost,
            Self::Scale,
            Self::Memory,
        ]
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Pay(_) => "pay",
            Self::Payer(_) => "payer",
            Self::Relay(_) => "relay",
            Self::Latency => "latency",
            Self::Cost => "cost",
            Self::Scale => "scale",
            Self::Memory => "memory",
        }
    }

    /// How long one measurement takes, unless another time is wanted.
    const fn seconds(&self) -> u64 {
        match self {
            Self::Relay(_) | Self::Latency => 10,
            Self::Pay(_) | Self::Payer(_) | Self::Cost | Self::Scale | Self::Memory => 6,
        }
    }

    async fn measure(&self, stage: &mut Stage<'_>, plan: &Plan) -> anyhow::Result<Report> {
        match self {
            Self::Pay(sizes) => pay::measure(stage, sizes, plan).await,
            Self::Payer(sizes) => payer::measure(stage, sizes, plan).await,
            Self::Relay(sizes) => relay::measure(stage, sizes, plan).await,
            Self::Latency => latency::measure(stage, plan).await,
            Self::Cost => cost::measure(stage, plan).await,
            Self::Scale => scale::measure(stage, plan).await,
            Self::Memory => memory::measure(stage, plan).await,
        }
    }
}

impl Bench {
    fn plan(&self, what: &What) -> Plan {
        let (runs, seconds) = if self.quick {
            (1, 1)
        } else {
            (3, what.seconds())
        };
        Plan {
            runs: self.runs.unwrap_or(runs),
            time: Duration::from_secs(self.seconds.unwrap_or(seconds)),
            only: self.only.clone(),
            quick: self.quick,
            largest: self.largest,
        }
    }

    /// The folder for the results pages, if they are wanted.
    fn folder(&self) -> Option<&Path> {
        let is_whole = !self.quick && self.only.is_empty();
        let default = is_whole.then_some(Path::new(RESULTS));
        self.out.as_deref().or(default)
    }
}

/// Measures, prints what was found, and writes it down.
pub async fn run(home: &Home, bench: Bench) -> anyhow::Result<bool> {
    let mut stop = StopSignal::catch()?;
    let mut fresh = FreshServers::begin(home).await?;
    let measured = tokio::select! {
        measured = Box::pin(measure(home, &mut fresh, &bench)) => measured.map(Some),
        _signal = stop.recv() => Ok(None),
    };
    fresh.supervisor.stop_clients().await;
    let cleared = match &bench.given.test_database_url {
        Some(server) => database::drop_all(server).await,
        None => Ok(()),
    };
    fresh.end().await?;
    let Some(targets) = measured? else {
        return Ok(false);
    };
    cleared?;
    if bench.what.is_none() {
        let table = targets::table("All ratios", &targets).to_terminal();
        terminal::line(format_args!("\n{}", table.trim_end()));
        if !bench.quick {
            terminal::line(format_args!(
                "  Why a goal is missed: {RESULTS}/performance.md"
            ));
        }
    }
    Ok(true)
}

/// Measures and publishes one benchmark after the other; returns the targets of all.
async fn measure(
    home: &Home,
    fresh: &mut FreshServers,
    bench: &Bench,
) -> anyhow::Result<Vec<Target>> {
    let servers = fresh
        .servers(home, &bench.given, Durability::Full, false)
        .await?;
    let mut stage = Stage::new(fresh, home, servers)?;
    let mut targets = Vec::new();
    let mut is_empty = true;
    for what in bench.what.clone().map_or_else(What::all, |what| vec![what]) {
        let name = what.name();
        let plan = bench.plan(&what);
        let mut facts = report::facts(&stage.servers).await?;
        let report = what.measure(&mut stage, &plan).await.context(name)?;
        if report.series.is_empty() {
            continue;
        }
        is_empty = false;
        let size = format!("{}; {} times", report.size, plan.runs);
        facts.push(("each measurement", size));
        report.publish(name, &facts, bench.folder())?;
        targets.extend(
            report
                .targets
                .iter()
                .map(|target| target.of_benchmark(name)),
        );
    }
    anyhow::ensure!(!is_empty, "no measurement has such a name");
    Ok(targets)
}
