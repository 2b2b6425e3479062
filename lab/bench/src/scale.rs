//! `lab bench scale`: whether the speed holds when the backlog, the payments before or the wallets are many.
//!
//! The template of each size is made once; each measurement has a fresh copy of it.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use lab_stack::relay_mode::RelayMode;
use lab_terminal as terminal;

use super::plan::Plan;
use super::plot::Plot;
use super::rate::{self, RateSeries};
use super::relay::backlog::Backlog;
use super::relay::drain;
use super::relay::running::at_work;
use super::relay_under_test::RelayState;
use super::report::Report;
use super::stage::Stage;
use super::stats::{self, grouped};
use super::targets::Target;
use super::wallet_api::http_load::Load;
use super::wallet_api::{self, wallets};

/// How many payments there are before, as long as it is about something else: enough that PostgreSQL plans for full tables.
const FEW_PAYMENTS: u32 = 50_000;

/// Clients of wallet-api.
const CONNECTIONS: u32 = 64;

/// After a checkpoint each page that is changed is written to the log as a whole once; with many rows that are many pages.
const WARM_UP: Duration = Duration::from_secs(5);

/// The goal of each ratio.
const GOAL_HUNDREDTHS: u128 = 80;

/// What there is much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Payments,
    Wallets,
    Backlog(RelayMode),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Case {
    part: Part,
    size: u32,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = grouped(self.size.into());
        match self.part {
            Part::Payments => write!(f, "pay, {size} payments before"),
            Part::Wallets => write!(f, "pay, {size} wallets"),
            Part::Backlog(mode) => write!(f, "{mode}, backlog of {size}"),
        }
    }
}

type ScaleSeries = RateSeries<Case>;

/// Measures all sizes in rounds, one part after the other. The backlogs come last, since Kafka keeps them.
pub(super) async fn measure(stage: &mut Stage<'_>, plan: &Plan) -> anyhow::Result<Report> {
    let payments = pay(stage, plan, Part::Payments).await?;
    let wallets = pay(stage, plan, Part::Wallets).await?;
    let backlogs = drain_backlogs(stage, plan).await?;
    let table = |title, who, series: &[ScaleSeries]| {
        rate::table(title, who, series, vec![rate::RESIDENT.to_owned()])
    };
    let tables = vec![
        table(
            "Payments a second, by the payments before",
            "size",
            &payments,
        ),
        table("Payments a second, by the wallets", "size", &wallets),
        table("Events a second, by the backlog", "size", &backlogs),
    ];
    let all: Vec<ScaleSeries> = [payments, wallets, backlogs]
        .into_iter()
        .flatten()
        .collect();
    Ok(Report {
        title: "Speed when things are large",
        about: ABOUT,
        size: format!(
            "payments from {CONNECTIONS} connections for {} s after {} s that do not count",
            plan.time.as_secs(),
            WARM_UP.min(plan.time).as_secs()
        ),
        plot: Plot::new("Payments or events a second", grouped, &all),
        tables,
        targets: targets(&all),
        series: stats::to_json(&all),
    })
}

const ABOUT: &str = "\
Whether the speed holds at scale. Payments through wallet-api on databases with so many payments that were paid before (with their \
transfers; 10,000 wallets), and with so many wallets (50,000 payments before). No database is without any payments: \
PostgreSQL would plan for empty tables, and the smallest size would be slow by that. Memory is that of wallet-api. And \
backlogs in the outbox, one event a transaction, that a relay finds when it is started: until the topic has \
all events and the outbox has none. The relay's start is part of that time and weighs on the smallest backlog, so the \
largest is compared with the one before it, too. Memory is that of the relay. Each measurement has a fresh copy of the \
database of its size.";

/// Pays on databases of all sizes.
async fn pay(stage: &mut Stage<'_>, plan: &Plan, part: Part) -> anyhow::Result<Vec<ScaleSeries>> {
    stage.new_topics().await?;
    // The databases.
    let few = if plan.quick { 100 } else { FEW_PAYMENTS };
    let sizes = match part {
        Part::Wallets => plan.sizes([100, 10_000, 1_000_000], [10, 100]),
        Part::Payments | Part::Backlog(_) => {
            plan.sizes([FEW_PAYMENTS, 1_000_000, 10_000_000], [100, 1_000])
        }
    };
    let mut sized = Vec::new();
    for case in sizes.into_iter().map(|size| Case { part, size }) {
        if !plan.wants(&case.to_string()) {
            continue;
        }
        let (wallets, payments) = match part {
            Part::Wallets => (case.size, few),
            Part::Payments | Part::Backlog(_) => (wallet_api::wallets_of(plan.quick), case.size),
        };
        let begun = Instant::now();
        let template = wallet_api::template(stage, wallets, payments).await?;
        let took = terminal::human(begun.elapsed());
        terminal::line(format_args!("{case}: the database was made in {took}"));
        sized.push((case, wallets, template));
    }
    // The measurements.
    let one = async |stage: &mut Stage<'_>, case: &Case| {
        let found = sized.iter().find(|(sized, ..)| sized == case);
        let (_, wallets, template) = found.context("a size has no database")?;
        let copy = stage.copy(template).await?;
        let api = wallet_api::start(stage, &copy, Vec::new()).await?;
        let load = Load {
            connections: CONNECTIONS,
            wallets: *wallets,
            warm_up: WARM_UP.min(plan.time),
            time: plan.time,
            ..Load::default()
        };
        let paid = wallet_api::pay(stage, &api, load).await?;
        wallets::check(&copy.url, paid.answers.accepted).await?;
        paid.rate()
    };
    let cases = sized.iter().map(|(case, ..)| *case);
    let all = plan.measure(stage, cases, "payments/s", one).await?;
    for (.., template) in sized {
        stage.drop(template).await?;
    }
    Ok(all)
}

/// Drains backlogs of all sizes.
async fn drain_backlogs(stage: &mut Stage<'_>, plan: &Plan) -> anyhow::Result<Vec<ScaleSeries>> {
    let topic = stage.new_topics().await?;
    let template = stage.template("wallet-api").await?;
    let modes = [RelayMode::Poller, RelayMode::Cdc];
    let sizes = plan.sizes([10_000, 300_000, 3_000_000], [100, 1_000]);
    let cases = modes.into_iter().flat_map(|mode| {
        let part = Part::Backlog(mode);
        sizes.iter().map(move |&size| Case { part, size })
    });
    let one = async |stage: &mut Stage<'_>, case: &Case| {
        let Part::Backlog(mode) = case.part else {
            anyhow::bail!("{case} is no backlog");
        };
        let copy = stage.copy(&template).await?;
        let relay = at_work(stage, mode, &copy).await?;
        let backlog = Backlog::Transactions(case.size);
        drain::measure(stage, &copy, &topic, &relay, RelayState::Stopped, backlog).await
    };
    plan.measure(stage, cases, "events/s", one).await
}

/// Of each larger size to the smallest of its part; of the third backlog to the second, too.
fn targets(all: &[ScaleSeries]) -> Vec<Target> {
    let mut targets = Vec::new();
    for sizes in all.chunk_by(|one, next| one.case.part == next.case.part) {
        for (nth, ours) in sizes.iter().enumerate().skip(1) {
            let is_backlog = matches!(ours.case.part, Part::Backlog(_));
            let peers = sizes.iter().take(nth).enumerate();
            let peers = peers.filter(|(peer, _)| *peer == 0 || (is_backlog && peer + 1 == nth));
            for (_, peer) in peers {
                let what = format!("{} : {}", ours.case, grouped(peer.case.size.into()));
                targets.push(Target::new(
                    what,
                    GOAL_HUNDREDTHS,
                    ours.figures(),
                    peer.figures(),
                ));
            }
        }
    }
    targets
}
