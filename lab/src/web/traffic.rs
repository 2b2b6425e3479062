//! Traffic: payments of many customers, at a rate, by a plan that can be repeated, and what became of their money.

mod sending;
mod verdict;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::Json;
use axum::extract::State;
use chassis::Problem;
use chassis::http::JsonBody;
use chassis::problem::StatusCode;
use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::sending::Answer;
pub(super) use self::sending::Latencies;
use super::lab::Lab;
use super::money;
use super::parts::Behaviour;
use crate::audit::Report;
use crate::config::RelayMode;
use crate::orders::Order;
use crate::stack::Stack;

/// How long the last payments may be on their way before the verdict says so.
const SETTLE_WITHIN: Duration = Duration::from_secs(90);

/// How long to wait before it is audited again.
const AUDIT_EVERY: Duration = Duration::from_millis(500);

/// How wallet-api writes a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Pattern {
    /// Debit and event in one transaction; a relay publishes.
    Outbox,
    /// Publish the command, and debit when it comes back.
    ListenToYourself,
    /// Debit, then publish.
    DualWrite,
}

impl Pattern {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Outbox => "outbox",
            Self::ListenToYourself => "listen-to-yourself",
            Self::DualWrite => "dual-write",
        }
    }
}

/// The body of `POST /api/traffic`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Plan {
    pub(super) pattern: Pattern,
    /// None: as it is.
    pub(super) relay_mode: Option<RelayMode>,
    #[serde(flatten)]
    pub(super) load: Load,
}

/// What is the same for every pattern.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Load {
    /// Payments.
    pub(super) requests: u32,
    /// Payments a second.
    pub(super) rate_per_s: u32,
    /// Wallets they come from; with one, all meet in one row.
    pub(super) wallets: u32,
    /// Of each, in INR.
    #[serde(default = "amount_default", deserialize_with = "exact")]
    pub(super) amount: Decimal,
    /// Chance of a request to crash between its first write and its second.
    pub(super) crash_share: f64,
    /// Chance of a call of the provider to go wrong: half of these are answered 500, a quarter too late, a quarter are
    /// declined.
    pub(super) provider_fault_share: f64,
    /// The same seed gives the same requests, crashes and faults.
    pub(super) seed: u64,
}

const fn amount_default() -> Decimal {
    Decimal::ONE
}

/// An amount as text: a JSON number may have been rounded.
fn exact<'de, D: Deserializer<'de>>(amount: D) -> Result<Decimal, D::Error> {
    let text = String::deserialize(amount)?;
    Decimal::from_str_exact(&text)
        .map_err(|_| D::Error::custom("has to be an amount such as \"499.00\""))
}

impl Load {
    /// Finds the first value that is out of range.
    pub(super) fn check(&self) -> Result<(), Problem> {
        let range = |name, value: u32, max| match value {
            1.. if value <= max => Ok(()),
            _ => Err(Problem::invalid(format!("must be from 1 to {max}")).in_field(name)),
        };
        range("requests", self.requests, 1_000_000)?;
        range("rate_per_s", self.rate_per_s, 5_000)?;
        range("wallets", self.wallets, 1_000)?;
        for (name, share) in [
            ("crash_share", self.crash_share),
            ("provider_fault_share", self.provider_fault_share),
        ] {
            if !(0.0..=1.0).contains(&share) {
                return Err(Problem::invalid("must be from 0 to 1").in_field(name));
            }
        }
        if self.amount <= Decimal::ZERO || self.amount > Decimal::from(10_000) {
            return Err(Problem::invalid("must be above 0, and at most 10000").in_field("amount"));
        }
        Ok(())
    }

    #[expect(
        clippy::float_arithmetic,
        reason = "chances of a mock provider, no money"
    )]
    fn faults(&self) -> Behaviour {
        Behaviour {
            server_error_share: self.provider_fault_share / 2.0,
            timeout_share: self.provider_fault_share / 4.0,
            decline_share: self.provider_fault_share / 4.0,
            seed: Some(self.seed),
        }
    }
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Progress {
    Running,
    Settling,
    Finished,
    Stopped,
}

/// What the page shows of a run.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Run {
    id: String,
    state: Progress,
    pattern: Pattern,
    relay_mode: Option<RelayMode>,
    sent: u32,
    requests: u32,
    accepted: u32,
    declined: u32,
    failed: u32,
    crashes: u32,
    p50_ms: Option<u64>,
    p99_ms: Option<u64>,
    verdict: Option<String>,
    inconsistent: Option<bool>,
}

/// A run that has ended.
pub(super) struct Ended {
    pub(super) latencies: Latencies,
    pub(super) report: Report,
    /// Payments that customers were told are accepted.
    promised: u64,
}

/// `POST /api/traffic`: begins a run.
pub(super) async fn begin(
    State(lab): State<Arc<Lab>>,
    JsonBody(plan): JsonBody<Plan>,
) -> Result<(StatusCode, Json<Run>), Problem> {
    plan.load.check()?;
    lab.stack().await?;
    let work = lab.begin_work()?;
    let begun = Run::new(&plan);
    let shown = begun.clone();
    let tasks = lab.tasks.clone();
    tasks.spawn(async move {
        // What came of it is shown.
        drop(run(&lab, &plan, shown, work.token()).await);
        drop(work);
    });
    Ok((StatusCode::ACCEPTED, Json(begun)))
}

/// `DELETE /api/traffic`: sends no more. What has been sent is settled and audited.
pub(super) async fn stop(State(lab): State<Arc<Lab>>) -> StatusCode {
    lab.stop_work();
    StatusCode::NO_CONTENT
}

impl Run {
    /// Of a plan; nothing is sent yet.
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            id: Uuid::now_v7().to_string(),
            state: Progress::Running,
            pattern: plan.pattern,
            relay_mode: plan.relay_mode,
            sent: 0,
            requests: plan.load.requests,
            accepted: 0,
            declined: 0,
            failed: 0,
            crashes: 0,
            p50_ms: None,
            p99_ms: None,
            verdict: None,
            inconsistent: None,
        }
    }

    fn count(&mut self, answer: Answer) {
        let count = match answer {
            Answer::Accepted => &mut self.accepted,
            Answer::Declined => &mut self.declined,
            Answer::Failed => &mut self.failed,
            Answer::Crashed => &mut self.crashes,
        };
        *count += 1;
    }
}

/// A whole run, shown as `run` from its beginning to its verdict.
pub(super) async fn run(
    lab: &Lab,
    plan: &Plan,
    run: Run,
    stop: &CancellationToken,
) -> anyhow::Result<Ended> {
    lab.shown().run = Some(run);
    let ended = drive(lab, plan, stop).await;
    let mut shown = lab.shown();
    if let Some(run) = &mut shown.run {
        run.state = if stop.is_cancelled() {
            Progress::Stopped
        } else {
            Progress::Finished
        };
        match &ended {
            Ok(ended) => {
                let (verdict, is_inconsistent) = verdict::of(&ended.report, ended.promised);
                run.verdict = Some(verdict);
                run.inconsistent = Some(is_inconsistent);
                shown.statistics.inconsistent_runs += u64::from(is_inconsistent);
            }
            Err(error) => run.verdict = Some(format!("There is no verdict: {error:#}.")),
        }
    }
    ended
}

/// Sends the traffic, waits until the payments have ended, and audits them. Stopped by `stop`, it still does the latter.
async fn drive(lab: &Lab, plan: &Plan, stop: &CancellationToken) -> anyhow::Result<Ended> {
    let mut stack = stack_of(lab).await?;
    if let Some(mode) = plan.relay_mode
        && stack.relay_mode != mode
    {
        let switched = lab.order(Order::RelayMode(mode)).await;
        switched.map_err(|problem| told(&problem))?;
        stack = stack_of(lab).await?;
    }
    let client = sending::client()?;
    // Before the wallets are made: an id that is made of a wallet's and a key begins with the time of the wallet.
    let since = moment(lab).await?;
    let wallets = sending::make_wallets(&client, &stack, &plan.load).await?;
    let has_faults = plan.load.provider_fault_share > 0.0;
    if has_faults {
        let told = plan.load.faults().put(&stack.mock_provider).await;
        told.context("telling the provider to fail")?;
    }
    let latencies = sending::send(lab, plan, (&client, &stack, &wallets), stop).await;
    if has_faults {
        // It may be down: then it has forgotten by itself.
        drop(Behaviour::GOOD.put(&stack.mock_provider).await);
    }
    if let Some(run) = &mut lab.shown().run {
        run.state = Progress::Settling;
    }
    let promised = u64::try_from(latencies.count())?;
    let report = settle(lab, since, promised).await?;
    Ok(Ended {
        latencies,
        report,
        promised,
    })
}

async fn stack_of(lab: &Lab) -> anyhow::Result<Stack> {
    lab.board.stack().await.context("the system is starting")
}

async fn moment(lab: &Lab) -> anyhow::Result<DateTime<Utc>> {
    let now = money::now(lab).await;
    now.map_err(|problem| told(&problem))
}

fn told(problem: &Problem) -> anyhow::Error {
    anyhow::anyhow!("{}", problem.detail())
}

/// Audits until all that was promised is known and nothing is on its way any more, or for long enough.
async fn settle(lab: &Lab, since: DateTime<Utc>, promised: u64) -> anyhow::Result<Report> {
    let deadline = Instant::now() + SETTLE_WITHIN;
    loop {
        let audited = money::audit(lab, since).await;
        let audited = audited.map_err(|problem| told(&problem))?;
        match audited {
            Ok(report) if report.in_flight == 0 && report.accepted >= promised => {
                return Ok(report);
            }
            ended if Instant::now() >= deadline => return ended,
            // On their way, or a server is down just now.
            Ok(_) | Err(_) => tokio::time::sleep(AUDIT_EVERY).await,
        }
    }
}
