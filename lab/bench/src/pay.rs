//! `lab bench pay`: payments through wallet-api, against pgbench with the same payment.
//!
//! Each measurement has a database of its own, a copy of one with the wallets in it, and its rows are
//! checked afterwards. No relay runs: the outbox grows, on both sides alike.

mod http_load;
mod pgbench;
mod wallets;

use std::fmt;

use anyhow::Context as _;
use lab_stack::http;
use lab_terminal as terminal;
use serde_json::json;

use super::cpu::{Shares, shown};
use super::database::Copy;
use super::plan::{Plan, Series};
use super::report::{Report, facts};
use super::stage::Stage;
use super::stats::{Latency, Spread, grouped, millis, per_second};
use super::table::Table;
use super::targets::{self, Target};

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Sizes {
    /// Wallets, where there are many
    #[arg(long, value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    wallets: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Payer {
    /// Clients of wallet-api.
    Api,
    /// Clients of the database, one payment a transaction.
    Pgbench,
    /// The same payments, many in one transaction and each statement for all of them: no service can be faster.
    PgbenchSet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    ManyWallets,
    OneWallet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Case {
    payer: Payer,
    connections: u32,
    from: From,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let payer = match self.payer {
            Payer::Api => "wallet-api",
            Payer::Pgbench => "pgbench",
            Payer::PgbenchSet => "pgbench in sets",
        };
        let from = match self.from {
            From::ManyWallets => "many wallets",
            From::OneWallet => "one wallet",
        };
        write!(f, "{payer}, {} connections, {from}", self.connections)
    }
}

/// In the order of a round: a peer, ours, a peer, ours.
fn cases(plan: &Plan) -> Vec<Case> {
    let connections: &[(Payer, u32)] = if plan.quick {
        &[(Payer::Pgbench, 2), (Payer::Api, 4), (Payer::PgbenchSet, 2)]
    } else {
        &[
            (Payer::Pgbench, 16),
            (Payer::Api, 64),
            (Payer::Pgbench, 64),
            (Payer::Api, 256),
            (Payer::Pgbench, 256),
            (Payer::PgbenchSet, 2),
        ]
    };
    let cases = [From::ManyWallets, From::OneWallet].map(|from| {
        connections.iter().map(move |&(payer, connections)| Case {
            payer,
            connections,
            from,
        })
    });
    cases.into_iter().flatten().collect()
}

#[derive(Debug, Clone, Copy)]
struct Measurement {
    per_second: u64,
    latency: Latency,
    cpu: Shares,
}

type PaySeries = Series<Case, Measurement>;

/// Measures all cases in rounds.
pub(super) async fn measure(
    stage: &mut Stage<'_>,
    sizes: &Sizes,
    plan: &Plan,
) -> anyhow::Result<Report> {
    let mut facts = facts(&stage.servers).await?;
    let wallets = sizes
        .wallets
        .unwrap_or(if plan.quick { 20 } else { 10_000 });
    let clearing = prepare(stage, wallets).await?;
    // What to measure.
    let mut all: Vec<PaySeries> = plan.series(cases(plan))?;
    // In rounds, each measurement on a fresh copy of the database.
    for round in 1..=plan.runs {
        for series in &mut all {
            let wallets = match series.case.from {
                From::ManyWallets => wallets,
                From::OneWallet => 1,
            };
            let copy = stage.databases.copy().await?;
            let measured = match series.case.payer {
                Payer::Api => with_api(stage, &copy, series.case, wallets, plan).await,
                Payer::Pgbench | Payer::PgbenchSet => {
                    with_pgbench(stage, &copy, series.case, wallets, plan, &clearing).await
                }
            };
            let measured = measured.with_context(|| series.case.to_string())?;
            stage.databases.drop(copy).await?;
            terminal::line(format_args!(
                "round {round} of {}: {}: {} payments/s",
                plan.runs,
                series.case,
                grouped(measured.per_second)
            ));
            series.rounds.push(measured);
        }
    }
    facts.push((
        "each measurement",
        format!(
            "{} s, {} times, {wallets} wallets",
            plan.time.as_secs(),
            plan.runs
        ),
    ));
    Ok(Report {
        title: "Payments a second",
        about: about(),
        facts,
        tables: vec![speed(&all), ratios(&all), profile(&all)],
    })
}

fn about() -> String {
    "`POST /wallets/{id}/pay-bill` of wallet-api from so many connections, each with one request after the \
     other and a new idempotency key each, against pgbench (`--protocol=prepared`) with the same payment: the \
     same rows in the same tables with the same constraints, in one transaction of 7 statements (begin, lock \
     the wallet, insert payment, insert transfer, update balance, insert event, commit). All run on one \
     PostgreSQL server, each measurement on a fresh copy of one database; afterwards the rows are checked: \
     every answer is a payment with its transfer and event, every balance is that of its ledger. No relay \
     runs. \"pgbench in sets\" is the limit: two connections that each write 128 payments in one transaction of four \
     statements, whose latency is that of all 128."
        .to_owned()
}

/// Makes the database that is copied, and returns the account that payments go to.
async fn prepare(stage: &mut Stage<'_>, wallets: u32) -> anyhow::Result<String> {
    let url = stage.prepare("wallet-api").await?;
    let template = Copy {
        name: stage.databases.template().to_owned(),
        url: url.clone(),
    };
    // The first wallet of a currency makes the system's accounts.
    let api = stage.service("wallet-api", &template, Vec::new())?;
    let address = format!("{}/wallets", api.address);
    stage.start(vec![api]).await?;
    let request = http::client()
        .post(&address)
        .header("content-type", "application/json");
    let made = request.body(json!({ "currency": "INR" }).to_string());
    let made = made.send().await.context("making a wallet")?.status();
    anyhow::ensure!(made.is_success(), "making a wallet was answered {made}");
    stage.stop("wallet-api").await;
    wallets::open_wallets(&url, wallets).await?;
    wallets::clearing_account(&url).await
}

async fn with_api(
    stage: &mut Stage<'_>,
    copy: &Copy,
    case: Case,
    wallets: u32,
    plan: &Plan,
) -> anyhow::Result<Measurement> {
    let api = stage.service("wallet-api", copy, Vec::new())?;
    let address = api.address.trim_start_matches("http://").to_owned();
    stage.start(vec![api]).await?;
    let before = stage.cpu().await?;
    let answers = http_load::run(http_load::Load {
        address,
        connections: case.connections,
        wallets,
        time: plan.time,
    })
    .await?;
    let after = stage.cpu().await?;
    stage.stop("wallet-api").await;
    let payments = u64::try_from(answers.latencies.len())?;
    wallets::check(&copy.url, payments).await?;
    Ok(Measurement {
        per_second: per_second(payments, answers.elapsed),
        latency: Latency::of(answers.latencies).context("nothing was paid")?,
        cpu: after.since(&before),
    })
}

async fn with_pgbench(
    stage: &Stage<'_>,
    copy: &Copy,
    case: Case,
    wallets: u32,
    plan: &Plan,
    clearing: &str,
) -> anyhow::Result<Measurement> {
    let before = stage.cpu().await?;
    let load = pgbench::Load {
        url: &copy.url,
        clients: case.connections,
        in_sets: case.payer == Payer::PgbenchSet,
        wallets,
        clearing,
        time: plan.time,
    };
    let outcome = pgbench::run(&stage.folder(), &load).await?;
    let after = stage.cpu().await?;
    wallets::check(&copy.url, outcome.payments).await?;
    Ok(Measurement {
        per_second: outcome.per_second,
        latency: Latency::of(outcome.latencies).context("nothing was paid")?,
        cpu: after.since(&before),
    })
}

impl PaySeries {
    fn spread(&self) -> Option<Spread<u64>> {
        Spread::of(self.rounds.iter().map(|round| round.per_second))
    }

    fn median_round(&self) -> Option<&Measurement> {
        let median = self.spread()?.median;
        self.rounds.iter().find(|round| round.per_second == median)
    }
}

fn speed(all: &[PaySeries]) -> Table {
    let rows = all.iter().filter_map(|series| {
        let (spread, round) = (series.spread()?, series.median_round()?);
        Some(vec![
            series.case.to_string(),
            grouped(spread.median),
            format!("{} .. {}", grouped(spread.min), grouped(spread.max)),
            millis(round.latency.p50),
            millis(round.latency.p99),
        ])
    });
    Table {
        title: "Payments a second".to_owned(),
        columns: vec!["who", "median", "min .. max", "p50 ms", "p99 ms"],
        rows: rows.collect(),
        notes: vec!["Latencies are those of the median run.".to_owned()],
    }
}

fn profile(all: &[PaySeries]) -> Table {
    let rows = all.iter().filter_map(|series| {
        let round = series.median_round()?;
        let cpu = round.cpu;
        let clients = cpu.tools + cpu.lab;
        let total = cpu.postgres? + cpu.services + clients;
        Some(vec![
            series.case.to_string(),
            shown(cpu.postgres),
            shown((series.case.payer == Payer::Api).then_some(cpu.services)),
            shown(Some(clients)),
            shown(cpu.kafka),
            // A percent of a core is 10,000 microseconds a second.
            (total * 10_000)
                .checked_div(round.per_second.into())
                .map_or_else(String::new, |micros| micros.to_string()),
        ])
    });
    Table {
        title: "Who used the CPU".to_owned(),
        columns: vec![
            "who", "PostgreSQL", "wallet-api", "clients", "Kafka", "µs a payment",
        ],
        rows: rows.collect(),
        notes: vec![
            "Shares of one core in the median run. Kafka is idle meanwhile. A payment's CPU time is \
             that of PostgreSQL, wallet-api and the clients together."
                .to_owned(),
        ],
    }
}

/// Of each series of wallet-api to pgbench: with as many clients, with the number that suits it best, and to the limit.
fn ratios(all: &[PaySeries]) -> Table {
    let of = |payer| all.iter().filter(move |series| series.case.payer == payer);
    let mut found = Vec::new();
    for ours in of(Payer::Api) {
        let Case {
            connections, from, ..
        } = ours.case;
        let wanted = match (from, connections) {
            (From::ManyWallets, ..=64) => 300,
            (From::ManyWallets, _) => 500,
            (From::OneWallet, ..=64) => 1_000,
            (From::OneWallet, _) => 1_500,
        };
        let peers = || of(Payer::Pgbench).filter(|peer| peer.case.from == from);
        let best = peers().max_by_key(|peer| peer.spread().map(|spread| spread.median));
        let alike = peers().find(|peer| peer.case.connections == connections);
        let limit = of(Payer::PgbenchSet).find(|peer| peer.case.from == from);
        let limit = limit.filter(|_| connections > 64);
        for (peer, which, hundredths) in [
            (best, "best of all", wanted),
            (alike, "as many", wanted),
            (limit, "in sets, the limit", 60),
        ] {
            let Some(peer) = peer else { continue };
            let rates = |series: &PaySeries| -> Vec<Option<u64>> {
                let rounds = series.rounds.iter();
                rounds.map(|round| Some(round.per_second)).collect()
            };
            let target = Target {
                what: format!(
                    "{} : pgbench, {} ({which})",
                    ours.case, peer.case.connections
                ),
                hundredths,
            };
            found.push((target, targets::of_rounds(rates(ours), rates(peer))));
        }
    }
    targets::table(found)
}
