//! What became of the money: the audit, live, and the life of one payment.

use std::sync::Arc;

use audit::trace::{self, Timeline};
use axum::Json;
use axum::extract::State;
use chassis::Problem;
use chassis::http::Path;
use chassis::problem::StatusCode;
use lab_stack::process_table::ProcessView;
use uuid::Uuid;

use super::lab::Lab;
use super::problems::away;
use super::snapshot::{Behaviour, Money, Statistics};

/// Audits what was accepted since the last run began, or the last reset. When that can't be done, the last figures stay,
/// and say why.
pub(super) async fn run_once(lab: &Lab) -> Result<(), Problem> {
    let known = lab.shown().scope;
    let scope = match known {
        Some(scope) => scope,
        None => {
            let scope = lab.new_scope(false).await?;
            *lab.shown().scope.get_or_insert(scope)
        }
    };
    // A server that is known to be down is not waited for.
    let away = server_away(&lab.processes.parts().await);
    let audited = match away {
        Some(_) => None,
        None => Some(lab.audit(&scope).await?),
    };
    let mut shown = lab.shown();
    if shown.scope != Some(scope) {
        // A reset or a run came meanwhile.
        return Ok(());
    }
    match audited {
        Some(Ok(report)) => shown.money = Some(Money::new(&scope, report)),
        not_audited => {
            let error = not_audited.and_then(Result::err);
            let money = shown.money.get_or_insert_with(|| Money::unknown(&scope));
            money.away = error.as_ref().map_or(away, server_of);
            money.error = error.map(|error| format!("{error:#}"));
        }
    }
    Ok(())
}

/// The first server of the audit that does not work, as people call it.
fn server_away(parts: &[ProcessView]) -> Option<&'static str> {
    const DOWN: [&str; 5] = ["starting", "restarting", "paused", "stopping", "stopped"];
    let down = parts
        .iter()
        .filter(|part| DOWN.contains(&part.state.as_str()));
    let mut named = down.filter_map(|part| match part.name.as_str() {
        "kafka" => Some("Kafka"),
        "postgres" => Some("PostgreSQL"),
        "mock-provider" => Some("The provider"),
        _ => None,
    });
    named.next()
}

/// The server that an audit failed by, if it is one that did not answer.
fn server_of(error: &anyhow::Error) -> Option<&'static str> {
    error.chain().find_map(|cause| {
        if cause.is::<rdkafka::error::KafkaError>() {
            Some("Kafka")
        } else if cause.is::<reqwest::Error>() {
            Some("The provider")
        } else {
            let postgres = cause.downcast_ref::<tokio_postgres::Error>()?;
            postgres.as_db_error().is_none().then_some("PostgreSQL")
        }
    })
}

/// `POST /api/reset`: figures start from zero, and the provider behaves as usual. No data is deleted.
pub(super) async fn reset(State(lab): State<Arc<Lab>>) -> Result<StatusCode, Problem> {
    lab.shown().is_idle()?;
    // It may be down: then it has forgotten by itself.
    drop(Behaviour::GOOD.put(&lab.stack().await?.mock_provider).await);
    let scope = lab.new_scope(false).await?;
    let mut shown = lab.shown();
    // Traffic that began meanwhile keeps its figures.
    shown.is_idle()?;
    shown.scope = Some(scope);
    shown.statistics = Statistics::default();
    shown.run = None;
    shown.accidents.clear();
    shown.money = None;
    shown.comparison = None;
    drop(shown);
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /api/trace/{payment_id}`.
pub(super) async fn trace(
    State(lab): State<Arc<Lab>>,
    Path(payment_id): Path<Uuid>,
) -> Result<Json<Timeline>, Problem> {
    let traced = trace::trace(&lab.sources().await?, payment_id).await;
    let traced = traced.map_err(|error| away(&error))?;
    traced
        .map(Json)
        .ok_or_else(|| Problem::not_found("payment", payment_id))
}
