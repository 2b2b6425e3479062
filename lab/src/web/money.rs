//! What became of the money: the audit, live, and the life of one payment.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use chassis::Problem;
use chassis::http::Path;
use chassis::problem::StatusCode;
use chrono::{DateTime, Utc};
use diesel::sql_types::Timestamptz;
use diesel_async::RunQueryDsl as _;
use serde::Serialize;
use uuid::Uuid;

use super::away;
use super::lab::Lab;
use super::live::now_ms;
use super::parts::Behaviour;
use crate::audit::{self, Report, Scope, Sources, Whereabouts};
use crate::trace::{self, Trace};

/// The last audit.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Money {
    at: i64,
    complete: bool,
    accepted: u64,
    in_flight: u64,
    in_flight_where: Vec<Whereabouts>,
    paid: u64,
    refunded: u64,
    declined: u64,
    findings: Vec<Finding>,
    took_ms: u64,
    error: Option<String>,
}

/// Damage of a kind, under the name that it has on the terminal, too.
#[derive(Debug, Clone, Serialize)]
struct Finding {
    kind: &'static str,
    count: u64,
    examples: Vec<String>,
}

impl From<Report> for Money {
    fn from(report: Report) -> Self {
        let findings = report.findings.into_iter().map(|finding| Finding {
            kind: finding.kind.title(),
            count: finding.count,
            examples: finding.examples,
        });
        Self {
            at: now_ms(),
            complete: report.in_flight == 0,
            accepted: report.accepted,
            in_flight: report.in_flight,
            in_flight_where: report.in_flight_where,
            paid: report.paid,
            refunded: report.refunded,
            declined: report.declined,
            findings: findings.collect(),
            took_ms: report.took_ms,
            error: None,
        }
    }
}

/// The moment from which on payments count; none before the first look.
pub(super) type Since = Option<DateTime<Utc>>;

/// Audits what was accepted since the last reset. When that can't be done, the last figures stay, and say why.
pub(super) async fn run_once(lab: &Lab) -> Result<(), Problem> {
    let known = lab.shown().since;
    let since = match known {
        Some(since) => since,
        None => {
            let now = now(lab).await?;
            *lab.shown().since.insert(now)
        }
    };
    let audited = audit(lab, since).await?;
    let mut shown = lab.shown();
    if shown.since != Some(since) {
        // A reset came meanwhile.
        return Ok(());
    }
    match audited {
        Ok(report) => shown.money = Some(Money::from(report)),
        Err(error) => {
            shown.money.get_or_insert_default().error = Some(format!("{error:#}"));
        }
    }
    Ok(())
}

/// How long an audit may take: one that waits for a paused server would never end.
const AUDIT_WITHIN: Duration = Duration::from_secs(30);

/// Audits what was accepted since then.
pub(super) async fn audit(
    lab: &Lab,
    since: DateTime<Utc>,
) -> Result<anyhow::Result<Report>, Problem> {
    let scope = Scope {
        since: Some(since),
        ..Scope::default()
    };
    let sources = sources(lab).await?;
    let audited = audit::audit(&sources, scope, &|_, _, _| {});
    Ok(match tokio::time::timeout(AUDIT_WITHIN, audited).await {
        Ok(audited) => audited,
        Err(_) => Err(anyhow::anyhow!(
            "a server does not answer within {AUDIT_WITHIN:?}"
        )),
    })
}

/// The clock of the wallet's database.
pub(super) async fn now(lab: &Lab) -> Result<DateTime<Utc>, Problem> {
    let mut conn = lab.databases().await?.wallet.get().await?;
    let now = diesel::select(diesel::dsl::sql::<Timestamptz>("clock_timestamp()"));
    Ok(now.get_result(&mut conn).await?)
}

async fn sources(lab: &Lab) -> Result<Sources, Problem> {
    lab.stack().await.map(Sources::from)
}

/// `POST /api/reset`: figures begin anew, and the provider behaves. No data is deleted.
pub(super) async fn reset(State(lab): State<Arc<Lab>>) -> Result<StatusCode, Problem> {
    lab.shown().is_idle()?;
    // It may be down: then it has forgotten by itself.
    drop(Behaviour::GOOD.put(&lab.stack().await?.mock_provider).await);
    let since = now(&lab).await?;
    let mut shown = lab.shown();
    // Traffic that began meanwhile keeps its figures.
    shown.is_idle()?;
    shown.since = Some(since);
    shown.statistics = super::flow::Statistics::default();
    shown.run = None;
    shown.money = None;
    shown.comparison = None;
    drop(shown);
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /api/trace/{payment_id}`.
pub(super) async fn trace(
    State(lab): State<Arc<Lab>>,
    Path(payment_id): Path<Uuid>,
) -> Result<Json<Trace>, Problem> {
    let traced = trace::trace(&sources(&lab).await?, payment_id).await;
    let traced = traced.map_err(|error| away(&error))?;
    traced
        .map(Json)
        .ok_or_else(|| Problem::not_found("payment", payment_id))
}
