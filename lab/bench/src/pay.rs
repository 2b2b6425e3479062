//! `lab bench pay`: payments through wallet-api, against pgbench with the same payment.
//!
//! Each measurement has a database of its own, a copy of one with the wallets in it, and its rows are
//! checked afterwards. No relay runs: the outbox grows, on both sides alike.

mod pgbench;
mod waits;

use std::fmt;

use anyhow::Context as _;

use super::cpu::shown;
use super::database::Database;
use super::plan::Plan;
use super::plot::Plot;
use super::rate::{self, Rate, RateSeries};
use super::report::Report;
use super::stage::Stage;
use super::stats::{self, Latency, grouped};
use super::table::Table;
use super::targets::Target;
use super::wallet_api::http_load::Load;
use super::wallet_api::{self, wallets};

#[derive(Debug, Clone, Default, clap::Args)]
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

/// Measures all cases in rounds.
pub(super) async fn measure(
    stage: &mut Stage<'_>,
    sizes: &Sizes,
    plan: &Plan,
) -> anyhow::Result<Report> {
    let default = wallet_api::wallets_of(plan.quick);
    let many = sizes.wallets.unwrap_or(default);
    stage.new_topics().await?;
    let template = wallet_api::template(stage, many, many * wallets::PAYMENTS_EACH).await?;
    let clearing = wallets::clearing_account(&template.url).await?;
    let one = async |stage: &mut Stage<'_>, case: &Case| {
        let load = load_of(*case, many, plan);
        let copy = stage.copy(&template).await?;
        match case.payer {
            Payer::Api => {
                let api = wallet_api::start(stage, &copy, Vec::new()).await?;
                let paid = wallet_api::pay(stage, &api, load).await?;
                check(&copy, paid.answers.accepted).await?;
                paid.rate()
            }
            Payer::Pgbench | Payer::PgbenchSet => {
                let load = pgbench::Load {
                    url: &copy.url,
                    clients: case.connections,
                    in_sets: case.payer == Payer::PgbenchSet,
                    wallets: load.wallets,
                    clearing: &clearing,
                    time: plan.time,
                };
                with_pgbench(stage, &copy, &load).await
            }
        }
    };
    let all = plan.measure(stage, cases(plan), "payments/s", one).await?;
    // Once more for each of ours, not timed: looking costs time, too.
    let mut waiting = Vec::new();
    for ours in all.iter().filter(|series| series.case.payer == Payer::Api) {
        let copy = stage.copy(&template).await?;
        let api = wallet_api::start(stage, &copy, Vec::new()).await?;
        let paying = wallet_api::pay(stage, &api, load_of(ours.case, many, plan));
        let waits = waits::during(&copy.url, paying).await?;
        stage.clear().await?;
        waiting.push(
            std::iter::once(ours.case.to_string())
                .chain(waits.cells())
                .collect(),
        );
    }
    let notes = vec!["Latencies are those of the median run.".to_owned()];
    Ok(Report {
        title: "Payments a second",
        about: ABOUT,
        size: format!(
            "{} s, {} wallets",
            plan.time.as_secs(),
            grouped(many.into())
        ),
        plot: Plot::new("Payments a second", grouped, &all),
        tables: vec![
            rate::table("Payments a second", "who", &all, notes),
            profile(&all),
            Table {
                title: "What the writers wait for".to_owned(),
                columns: waits::Waits::columns(),
                rows: waiting,
                notes: vec![
                    "Of 100 looks at a session of wallet-api that is in a transaction, so many found it there. A run of its own, not timed."
                        .to_owned(),
                ],
            },
        ],
        targets: targets(&all),
        series: stats::to_json(&all),
    })
}

fn load_of(case: Case, many: u32, plan: &Plan) -> Load {
    Load {
        connections: case.connections,
        wallets: match case.from {
            From::ManyWallets => many,
            From::OneWallet => 1,
        },
        time: plan.time,
        ..Load::default()
    }
}

const ABOUT: &str = "\
`POST /wallets/{id}/pay-bill` of wallet-api from so many connections, each with one request after the other and a new \
idempotency key each, against pgbench (`--protocol=prepared`) with the same payment: the same rows in the same tables \
with the same constraints, in one transaction of 7 statements (begin, lock the wallet, insert payment, insert \
transfer, update balance, insert event, commit). All run on one PostgreSQL server, each measurement on a fresh copy of \
one database; afterwards the rows are checked: every answer is a payment with its transfer and event, every balance is \
that of its ledger. No relay runs. \"pgbench in sets\" is the limit: two connections that each write 128 payments in \
one transaction of four statements, whose latency is that of all 128.";

async fn with_pgbench(
    stage: &Stage<'_>,
    database: &Database,
    load: &pgbench::Load<'_>,
) -> anyhow::Result<Rate> {
    let before = stage.cpu().await?;
    let outcome = pgbench::run(&stage.folder(), load).await?;
    let after = stage.cpu().await?;
    check(database, outcome.payments).await?;
    Ok(Rate {
        per_second: outcome.per_second,
        latency: Some(Latency::of(outcome.latencies).context("nothing was paid")?),
        cpu: Some(after.since(&before)),
        ..Rate::default()
    })
}

/// Checks that each payment is in the ledger and in the outbox.
async fn check(database: &Database, payments: u64) -> anyhow::Result<()> {
    wallets::check(&database.url, payments).await?;
    wallets::check_events(&database.url, payments).await
}

fn profile(all: &[RateSeries<Case>]) -> Table {
    let rows = all.iter().filter_map(|series| {
        let round = series.median_round()?;
        let cpu = round.cpu?;
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
fn targets(all: &[RateSeries<Case>]) -> Vec<Target> {
    let of = |payer| all.iter().filter(move |series| series.case.payer == payer);
    let mut targets = Vec::new();
    for ours in of(Payer::Api) {
        let Case {
            connections, from, ..
        } = ours.case;
        let goal = match (from, connections) {
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
        for (peer, which, goal) in [
            (best, "best of all", goal),
            (alike, "as many", goal),
            (limit, "in sets, the limit", 60),
        ] {
            let Some(peer) = peer else { continue };
            let what = format!(
                "{} : pgbench, {} ({which})",
                ours.case, peer.case.connections
            );
            targets.push(Target::new(what, goal, ours.figures(), peer.figures()));
        }
    }
    targets
}
