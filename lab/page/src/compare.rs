//! The same seeded traffic and faults through every way to write, one after the other.

use std::sync::Arc;
use std::time::Instant;

use audit::{Kind, Report};
use axum::extract::State;
use chassis::Problem;
use chassis::http::JsonBody;
use chassis::problem::StatusCode;
use lab_stack::commands::Command;
use lab_stack::relay_mode::RelayMode;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::lab::Lab;
use super::snapshot::{Comparison, ComparisonState, Load, Pattern, Plan, Row, RowState, Run};
use super::traffic::{self, RunResult};

/// A way to write, and how its events get to Kafka.
struct Arm {
    name: &'static str,
    pattern: Pattern,
    /// None: the relays have nothing to do with the requests, whatever their mode.
    relays: Option<RelayMode>,
}

const ARMS: [Arm; 5] = [
    arm("dual-write", Pattern::DualWrite, None),
    arm("outbox by poller", Pattern::Outbox, Some(RelayMode::Poller)),
    arm("outbox by cdc", Pattern::Outbox, Some(RelayMode::Cdc)),
    arm(
        "outbox by debezium",
        Pattern::Outbox,
        Some(RelayMode::Debezium),
    ),
    arm("listen-to-yourself", Pattern::ListenToYourself, None),
];

const fn arm(name: &'static str, pattern: Pattern, relays: Option<RelayMode>) -> Arm {
    Arm {
        name,
        pattern,
        relays,
    }
}

/// The body of `POST /api/compare`.
#[derive(Debug, Deserialize)]
pub(super) struct CompareRequest {
    /// Names of [`ARMS`].
    arms: Vec<String>,
    /// A [`Load`].
    #[serde(flatten)]
    load: Map<String, Value>,
}

fn fill(row: &mut Row, ended: &RunResult) {
    let RunResult {
        latencies, report, ..
    } = ended;
    row.accepted = report.accepted;
    row.paid = report.paid;
    row.refunded = report.refunded;
    row.lost = count(report, Kind::Lost);
    row.paid_twice = count(report, Kind::PaidTwice);
    row.p50_ms = latencies.percentile_ms(50);
    row.p90_ms = latencies.percentile_ms(90);
    row.p99_ms = latencies.percentile_ms(99);
    row.paid_p50_ms = report.paid_after.map(|after| after.p50_ms);
    row.paid_p99_ms = report.paid_after.map(|after| after.p99_ms);
}

fn count(report: &Report, kind: Kind) -> u64 {
    let of_kind = report.findings.iter().find(|finding| finding.kind == kind);
    of_kind.map_or(0, |finding| finding.count)
}

/// `POST /api/compare`: begins it.
pub(super) async fn begin(
    State(lab): State<Arc<Lab>>,
    JsonBody(wanted): JsonBody<CompareRequest>,
) -> Result<StatusCode, Problem> {
    let load = Load::read(wanted.load)?;
    // Which arms.
    let is_unknown = |name: &&String| !ARMS.iter().any(|arm| arm.name == **name);
    if let Some(unknown) = wanted.arms.iter().find(is_unknown) {
        let names = ARMS.map(|arm| arm.name).join(", ");
        let why = format!("there is no {unknown:?}: {names}");
        return Err(Problem::invalid(why).in_field("arms"));
    }
    let arms: Vec<&'static Arm> = ARMS
        .iter()
        .filter(|arm| wanted.arms.iter().any(|name| name == arm.name))
        .collect();
    if arms.is_empty() {
        return Err(Problem::invalid("must name at least one").in_field("arms"));
    }
    // One piece of work at a time.
    let mode = lab.stack().await?.relay_mode;
    let work = lab.begin_work()?;
    lab.shown().comparison = Some(Comparison {
        state: ComparisonState::Running,
        current: None,
        done: 0,
        total: arms.len(),
        rows: arms.iter().map(|arm| Row::new(arm.name)).collect(),
    });
    // Each arm, then the relay mode of before.
    let tasks = lab.tasks.clone();
    tasks.spawn(async move {
        for arm in arms {
            if work.token().is_cancelled() {
                break;
            }
            run(&lab, arm, &load, work.token()).await;
        }
        let present = lab.processes.stack().await.map(|stack| stack.relay_mode);
        if present != Some(mode) {
            // As it was before. If it can't be, the page shows the mode.
            drop(lab.carry_out(Command::RelayMode(mode)).await);
        }
        let state = if work.token().is_cancelled() {
            ComparisonState::Stopped
        } else {
            ComparisonState::Finished
        };
        if let Some(comparison) = &mut lab.shown().comparison {
            comparison.state = state;
            comparison.current = None;
        }
        drop(work);
    });
    Ok(StatusCode::ACCEPTED)
}

/// `DELETE /api/compare`: the arm that runs is the last one.
pub(super) async fn stop(State(lab): State<Arc<Lab>>) -> StatusCode {
    lab.stop_work();
    StatusCode::NO_CONTENT
}

/// One arm, from its first request to its audit.
async fn run(lab: &Lab, arm: &'static Arm, load: &Load, stop: &CancellationToken) {
    let plan = Plan {
        pattern: arm.pattern,
        relay_mode: arm.relays,
        load: load.clone(),
    };
    let begun = Instant::now();
    let duplicates = lab.shown().flow.duplicates();
    change(lab, arm, |row| row.state = RowState::Running);
    let ended = traffic::run(lab, &plan, Run::new(&plan), stop).await;
    let took_ms = u64::try_from(begun.elapsed().as_millis()).ok();
    let memory_bytes = match arm.relays {
        Some(_) => memory(lab).await,
        None => None,
    };
    let duplicates = lab.shown().flow.duplicates().saturating_sub(duplicates);
    change(lab, arm, |row| {
        row.took_ms = took_ms;
        match &ended {
            Ok(ended) => {
                row.state = RowState::Done;
                row.memory_bytes = memory_bytes;
                row.duplicates = duplicates;
                fill(row, ended);
            }
            Err(error) => {
                row.state = RowState::Failed;
                row.error = Some(format!("{error:#}"));
            }
        }
    });
}

fn change(lab: &Lab, arm: &'static Arm, change: impl FnOnce(&mut Row)) {
    let mut shown = lab.shown();
    let Some(comparison) = &mut shown.comparison else {
        return;
    };
    comparison.current = Some(arm.name);
    let rows = &mut comparison.rows;
    if let Some(row) = rows.iter_mut().find(|row| row.arm == arm.name) {
        change(row);
    }
    let has_ended = |row: &&Row| matches!(row.state, RowState::Done | RowState::Failed);
    comparison.done = comparison.rows.iter().filter(has_ended).count();
}

/// Of all relays, and of Kafka Connect if it runs.
async fn memory(lab: &Lab) -> Option<u64> {
    let parts = lab.processes.parts().await;
    parts
        .iter()
        .filter(|part| part.name.starts_with("relay-") || part.name == "connect")
        .map(|part| part.memory_bytes)
        .sum()
}
