//! `lab bench payer`: bills a second through bill-payer, with a provider that takes its time and one that often hangs.
//!
//! Each measurement has a fresh database with a backlog of bills. The times are those of the database: from the beginning of
//! the first call to the record of the last result.

use std::fmt;
use std::time::Duration;

use diesel_async::SimpleAsyncConnection as _;
use lab_stack::http;
use serde_json::json;

use super::database::{self, Database};
use super::plan::Plan;
use super::plot::Plot;
use super::rate::{self, Rate, RateSeries};
use super::report::Report;
use super::stage::Stage;
use super::stats::{self, Latency, grouped, of_case, per_second};
use super::targets::Target;

/// Calls at a time, without the slow ones: bill-payer's default.
const SLOTS: u64 = 64;

/// How long the provider takes for each response.
const LATENCY: Duration = Duration::from_millis(100);

/// How long all bills may take.
const WITHIN: Duration = Duration::from_secs(600);

#[derive(Debug, Clone, Default, clap::Args)]
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

/// Measures both cases in rounds.
pub(super) async fn measure(
    stage: &mut Stage<'_>,
    sizes: &Sizes,
    plan: &Plan,
) -> anyhow::Result<Report> {
    let bills = sizes.bills.unwrap_or(if plan.quick { 100 } else { 10_000 });
    let template = stage.template("bill-payer").await?;
    stage.new_topics().await?;
    let one = async |stage: &mut Stage<'_>, case: &Case| {
        let copy = stage.copy(&template).await?;
        pay_all(stage, &copy, *case, bills).await
    };
    let all = plan.measure(stage, Case::ALL, "bills/s", one).await?;
    Ok(Report {
        title: "Bills a second",
        about: ABOUT,
        size: format!("{} bills", grouped(bills.into())),
        plot: Plot::new("Bills a second", grouped, &all),
        tables: vec![rate::table("Bills a second", "provider", &all, Vec::new())],
        targets: targets(&all),
        series: stats::to_json(&all),
    })
}

const ABOUT: &str = "\
bill-payer with its default settings (64 calls at a time, and 192 slow ones) pays a backlog of bills at a provider \
that takes 100 ms for each response, so that 640 bills a second are the most that 64 calls at a time can pay. In the \
second case one call in ten gets no response until bill-payer gives it up after 5 s, and is retried. From the \
beginning of the first call to the record of the last result, by the database's clock. p50 and p99 are of the bills \
whose first call did not hang: how long after that beginning they were paid.";

/// Pays `bills` bills.
async fn pay_all(
    stage: &mut Stage<'_>,
    database: &Database,
    case: Case,
    bills: u32,
) -> anyhow::Result<Rate> {
    // A backlog, as the intake would have written it.
    let mut conn = database::connect(&database.url).await?;
    conn.batch_execute(&format!(
        "insert into bills (payment_id, wallet_id, amount, currency, provider, account_number, traceparent) \
         select gen_random_uuid(), gen_random_uuid(), 1, 'INR', 'wifi', 'WIFI-42', \
             '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' \
         from generate_series(1, {bills})"
    ))
    .await?;
    conn.batch_execute("vacuum analyze").await?;
    // A provider that behaves as the case says, and a bill-payer that pays.
    let provider = stage.service("mock-provider", database, Vec::new())?;
    let behaviour = format!("{}/behaviour", provider.address);
    let url = ("PROVIDER_URL", provider.address.clone());
    stage.start(vec![provider]).await?;
    let body = json!({ "latency_ms": LATENCY.as_millis(), "timeout_share": case.timeout_share() });
    let request = http::client().put(&behaviour).json(&body);
    request.send().await?.error_for_status()?;
    let payer = stage.service("bill-payer", database, vec![url])?;
    stage.start(vec![payer]).await?;
    let left = "select count(*) as number from bills where status <> 'paid'";
    database::wait_until("all bills are paid", WITHIN, async || {
        Ok(database::number(&mut conn, left).await? == 0)
    })
    .await?;
    stage.stop("bill-payer").await;
    let mut since_begin = async |moment: &str, attempts: &str| {
        let begin =
            "(select min(answered_at - took_ms * interval '1 millisecond') from bill_attempts)";
        let micros = format!(
            "select (extract(epoch from {moment} - {begin}) * 1000000)::bigint as number from bill_attempts {attempts}"
        );
        let micros = database::number(&mut conn, &micros).await?;
        anyhow::Ok(Duration::from_micros(u64::try_from(micros)?))
    };
    let elapsed = since_begin("max(answered_at)", "").await?;
    // The bills whose first call did not hang.
    let others = "where payment_id in \
        (select payment_id from bill_attempts group by payment_id having sum(times) = 1)";
    let percentile =
        |share| format!("percentile_disc({share}) within group (order by answered_at)");
    Ok(Rate {
        per_second: per_second(bills.into(), elapsed),
        latency: Some(Latency {
            p50: since_begin(&percentile("0.5"), others).await?,
            p99: since_begin(&percentile("0.99"), others).await?,
            max: since_begin(&percentile("1"), others).await?,
        }),
        ..Rate::default()
    })
}

fn targets(all: &[RateSeries<Case>]) -> Vec<Target> {
    let rate = |case| of_case(all, &case, |round| round.per_second);
    let latency_ms = u64::try_from(LATENCY.as_millis()).unwrap_or(u64::MAX);
    let most = std::iter::repeat(SLOTS * 1_000 / latency_ms);
    vec![
        Target::new(
            "every call takes 100 ms : the most that 64 calls can pay",
            90,
            rate(Case::Quick),
            most,
        ),
        Target::new(
            "one call in ten hangs : none hangs",
            50,
            rate(Case::OneInTenHangs),
            rate(Case::Quick),
        ),
    ]
}
