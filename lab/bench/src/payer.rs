//! `lab bench payer`: bills a second through bill-payer, with a provider that takes its time and one that often hangs.
//!
//! Each measurement has a fresh database with a backlog of bills. The times are those of the database: from the beginning of
//! the first call to the record of the last result.

use std::fmt;
use std::time::Duration;

use anyhow::Context as _;
use diesel_async::SimpleAsyncConnection as _;
use lab_stack::http;
use lab_terminal as terminal;
use serde_json::json;

use super::database::{self, Copy};
use super::plan::{Plan, Series};
use super::report::{Report, facts};
use super::stage::Stage;
use super::stats::{Spread, grouped, per_second};
use super::table::Table;
use super::targets::{self, Target};

/// Calls at a time, without the slow ones: bill-payer's default.
const SLOTS: u64 = 64;

/// How long the provider takes for each response.
const LATENCY: Duration = Duration::from_millis(100);

/// How long all bills may take.
const WITHIN: Duration = Duration::from_secs(600);

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Sizes {
    /// Bills to pay in each measurement
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    bills: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    /// Each call takes [`LATENCY`].
    Quick,
    /// As before, but one call in ten gets no response until bill-payer gives it up.
    OneInTenHangs,
}

impl Case {
    const ALL: [Self; 2] = [Self::Quick, Self::OneInTenHangs];

    const fn timeout_share(self) -> f64 {
        match self {
            Self::Quick => 0.0,
            Self::OneInTenHangs => 0.1,
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quick => "every call takes 100 ms",
            Self::OneInTenHangs => "one call in ten hangs",
        })
    }
}

/// Bills a second.
type PayerSeries = Series<Case, u64>;

/// Measures both cases in rounds.
pub(super) async fn measure(
    stage: &mut Stage<'_>,
    sizes: &Sizes,
    plan: &Plan,
) -> anyhow::Result<Report> {
    let bills = sizes.bills.unwrap_or(if plan.quick { 100 } else { 10_000 });
    let mut facts = facts(&stage.servers).await?;
    stage.prepare("bill-payer").await?;
    let mut all: Vec<PayerSeries> = plan.series(Case::ALL)?;
    for round in 1..=plan.runs {
        for series in &mut all {
            let copy = stage.databases.copy().await?;
            let measured = pay_all(stage, &copy, series.case, bills).await;
            let rate = measured.with_context(|| series.case.to_string())?;
            stage.databases.drop(copy).await?;
            terminal::line(format_args!(
                "round {round} of {}: {}: {} bills/s",
                plan.runs,
                series.case,
                grouped(rate)
            ));
            series.rounds.push(rate);
        }
    }
    let size = format!("{bills} bills, {} times", plan.runs);
    facts.push(("each measurement", size));
    Ok(Report {
        title: "Bills a second",
        about: about(),
        facts,
        tables: vec![speed(&all), ratios(&all)],
    })
}

fn about() -> String {
    "bill-payer with its default settings (64 calls at a time, and 192 slow ones) pays a backlog of bills at a provider that \
     takes 100 ms for each response, so that 640 bills a second are the most that 64 calls at a time can pay. In the second case one call in \
     ten gets no response until bill-payer gives it up after 5 s, and is made again. From the beginning of the first call to the record of \
     the last result, by the database's clock."
        .to_owned()
}

/// Pays `bills` bills; how many a second.
async fn pay_all(
    stage: &mut Stage<'_>,
    copy: &Copy,
    case: Case,
    bills: u32,
) -> anyhow::Result<u64> {
    // A backlog, as the intake would have written it.
    let mut conn = database::connect(&copy.url).await?;
    conn.batch_execute(&format!(
        "insert into bills (payment_id, wallet_id, amount, currency, provider, account_number, traceparent) \
         select gen_random_uuid(), gen_random_uuid(), 1, 'INR', 'wifi', 'WIFI-42', \
             '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' \
         from generate_series(1, {bills})"
    ))
    .await?;
    conn.batch_execute("vacuum analyze").await?;
    // A provider that behaves as the case says, and a bill-payer that pays.
    let provider = stage.service("mock-provider", copy, Vec::new())?;
    let behaviour = format!("{}/behaviour", provider.address);
    let url = ("PROVIDER_URL", provider.address.clone());
    stage.start(vec![provider]).await?;
    let body = json!({ "latency_ms": LATENCY.as_millis(), "timeout_share": case.timeout_share() });
    let request = http::client().put(&behaviour).json(&body);
    request.send().await?.error_for_status()?;
    let payer = stage.service("bill-payer", copy, vec![url])?;
    stage.start(vec![payer]).await?;
    let left = "select count(*) as number from bills where status <> 'paid'";
    database::wait_until("all bills are paid", WITHIN, async || {
        Ok(database::number(&mut conn, left).await? == 0)
    })
    .await?;
    stage.stop("bill-payer").await;
    stage.stop("mock-provider").await;
    let micros = "select (extract(epoch from max(answered_at) \
         - min(answered_at - took_ms * interval '1 millisecond')) * 1000000)::bigint as number from bill_attempts";
    let micros = database::number(&mut conn, micros).await?;
    let elapsed = Duration::from_micros(u64::try_from(micros)?);
    Ok(per_second(u64::from(bills), elapsed))
}

fn speed(all: &[PayerSeries]) -> Table {
    let rows = all.iter().filter_map(|series| {
        let spread = Spread::of(series.rounds.iter().copied())?;
        Some(vec![
            series.case.to_string(),
            grouped(spread.median),
            format!("{} .. {}", grouped(spread.min), grouped(spread.max)),
        ])
    });
    Table {
        title: "Bills a second".to_owned(),
        columns: vec!["provider", "median", "min .. max"],
        rows: rows.collect(),
        notes: Vec::new(),
    }
}

fn ratios(all: &[PayerSeries]) -> Table {
    let of = |case| {
        let series = all.iter().find(|series| series.case == case);
        let rounds = series.map(|series| series.rounds.as_slice());
        rounds.unwrap_or_default().iter().map(|rate| Some(*rate))
    };
    let latency_ms = u64::try_from(LATENCY.as_millis()).unwrap_or(u64::MAX);
    let most = std::iter::repeat(Some(SLOTS * 1_000 / latency_ms));
    let target = |what: &str, hundredths| Target {
        what: what.to_owned(),
        hundredths,
    };
    targets::table(vec![
        (
            target(
                "every call takes 100 ms : the most that 64 calls can pay",
                90,
            ),
            targets::of_rounds(of(Case::Quick), most),
        ),
        (
            target("one call in ten hangs : none hangs", 50),
            targets::of_rounds(of(Case::OneInTenHangs), of(Case::Quick)),
        ),
    ])
}
