//! Traffic: payments of many customers, at a rate, by a plan that can be repeated, and what became of their money.

mod sending;
mod verdict;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use audit::Report;
use axum::Json;
use axum::extract::State;
use chassis::Problem;
use chassis::http::JsonBody;
use chassis::problem::StatusCode;
use lab_stack::commands::Command;
use lab_stack::relay_mode::RelayMode;
use lab_stack::stack::Stack;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

pub(super) use self::sending::Latencies;
use super::lab::Lab;
use super::snapshot::{Behaviour, Load, MoneyScope, Outcome, Pattern, Plan, Run, RunState};

/// How long the last payments may be on their way before the verdict says so.
const SETTLE_WITHIN: Duration = Duration::from_secs(90);

/// How long to wait before it is audited again.
const AUDIT_EVERY: Duration = Duration::from_millis(500);

pub(super) struct RunResult {
    pub(super) latencies: Latencies,
    pub(super) report: Report,
    /// Payments that customers were told are accepted.
    promised: u64,
}

impl RunResult {
    /// What became of so many payments, and how the money came out.
    pub(super) fn verdict(&self) -> (String, Outcome) {
        verdict::of(&self.report, self.promised)
    }
}

/// The body of `POST /api/traffic`.
#[derive(Debug, Deserialize)]
pub(super) struct TrafficRequest {
    pattern: Pattern,
    /// None: as it is.
    relay_mode: Option<RelayMode>,
    /// A [`Load`].
    #[serde(flatten)]
    load: Map<String, Value>,
}

/// `POST /api/traffic`: begins a run.
pub(super) async fn begin(
    State(lab): State<Arc<Lab>>,
    JsonBody(wanted): JsonBody<TrafficRequest>,
) -> Result<(StatusCode, Json<Run>), Problem> {
    let plan = Plan {
        pattern: wanted.pattern,
        relay_mode: wanted.relay_mode,
        load: Load::read(wanted.load)?,
    };
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

/// A whole run, shown as `run` from its beginning to its verdict.
pub(super) async fn run(
    lab: &Lab,
    plan: &Plan,
    run: Run,
    stop: &CancellationToken,
) -> anyhow::Result<RunResult> {
    lab.shown().run = Some(run);
    let ended = drive(lab, plan, stop).await;
    let mut shown = lab.shown();
    if let Some(run) = &mut shown.run {
        run.state = if stop.is_cancelled() {
            RunState::Stopped
        } else {
            RunState::Finished
        };
        match &ended {
            Ok(ended) => {
                let (verdict, outcome) = ended.verdict();
                run.verdict = Some(format!("Of {verdict}"));
                run.outcome = Some(outcome);
                shown.statistics.inconsistent_runs += u64::from(outcome != Outcome::Right);
            }
            Err(error) => run.verdict = Some(format!("There is no verdict: {error:#}.")),
        }
    }
    ended
}

/// Sends the traffic, waits until the payments have ended, and audits them. Stopped by `stop`, it still does the latter.
async fn drive(lab: &Lab, plan: &Plan, stop: &CancellationToken) -> anyhow::Result<RunResult> {
    let mut stack = stack_of(lab).await?;
    if let Some(mode) = plan.relay_mode
        && stack.relay_mode != mode
    {
        let switched = lab.carry_out(Command::RelayMode(mode)).await;
        switched.map_err(|problem| problem_error(&problem))?;
        stack = stack_of(lab).await?;
    }
    // Customers and their wallets.
    let client = sending::client()?;
    // Before the wallets are made: an id that is made of a wallet's and a key begins with the time of the wallet.
    let scope = lab.new_scope(true).await;
    let scope = scope.map_err(|problem| problem_error(&problem))?;
    lab.show_scope(scope);
    let wallets = sending::make_wallets(&client, &stack, &plan.load).await?;
    let has_faults = plan.load.provider_fault_share > 0.0;
    if has_faults {
        let asked = plan.load.faults().put(&stack.mock_provider).await;
        asked.context("telling the provider to fail")?;
    }
    let show = |change: &dyn Fn(&mut Run)| {
        if let Some(run) = &mut lab.shown().run {
            change(run);
        }
    };
    // The traffic itself.
    let latencies = sending::send(plan, &client, &stack, &wallets, stop, &show).await;
    if has_faults {
        // It may be down: then it has forgotten by itself.
        drop(Behaviour::GOOD.put(&stack.mock_provider).await);
    }
    if let Some(run) = &mut lab.shown().run {
        run.state = RunState::Settling;
    }
    // Wait for the last payment, and audit.
    let promised = u64::try_from(latencies.count())?;
    let report = settle(lab, &scope, promised).await?;
    Ok(RunResult {
        latencies,
        report,
        promised,
    })
}

async fn stack_of(lab: &Lab) -> anyhow::Result<Stack> {
    lab.processes
        .stack()
        .await
        .context("the system is starting")
}

pub(super) fn problem_error(problem: &Problem) -> anyhow::Error {
    anyhow::anyhow!("{}", problem.detail())
}

/// Audits until all that was promised is known and nothing is on its way any more, or for long enough.
async fn settle(lab: &Lab, scope: &MoneyScope, promised: u64) -> anyhow::Result<Report> {
    let deadline = Instant::now() + SETTLE_WITHIN;
    loop {
        let audited = lab.audit(scope).await;
        let audited = audited.map_err(|problem| problem_error(&problem))?;
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
