//! Sends lost payments on their way again, as an operator would: the page shows the command that does the same.

use std::sync::Arc;

use anyhow::Context as _;
use audit::Scope;
use axum::Json;
use axum::extract::State;
use chassis::Problem;
use chassis::http::Path;
use chassis::problem::StatusCode;
use lab_stack::http;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::lab::Lab;
use super::problems::{away, conflict};

/// Who did it, on record in `operator_actions`.
const OPERATOR: &str = "lab-page";

/// `POST /api/redrive/{payment_id}`.
pub(super) async fn one(
    State(lab): State<Arc<Lab>>,
    Path(payment_id): Path<Uuid>,
) -> Result<StatusCode, Problem> {
    redrive(&lab, &format!("/payments/{payment_id}/redrive"), &json!({})).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Redriven {
    redriven: u64,
}

/// What wallet-api returns for many.
#[derive(Deserialize)]
struct Part {
    redriven: u64,
    next_after: Option<Uuid>,
}

/// `POST /api/redrive`: every payment of the shown money that has been pending for as long as a lost one has. One that is
/// still on its way is paid only once.
pub(super) async fn all(State(lab): State<Arc<Lab>>) -> Result<Json<Redriven>, Problem> {
    let scope = lab.shown().scope;
    let scope = Scope {
        since: scope.map(|scope| scope.since),
        ..Scope::default()
    };
    let pending_for = format!("{}s", scope.lost_after.as_secs());
    let mut after = Some(scope.first_id());
    let mut all = Redriven::default();
    while let Some(id) = after {
        let order = json!({ "pending_for": pending_for, "after": id });
        let answer = redrive(&lab, "/payments/redrive", &order).await?;
        let part = serde_json::from_value(answer).context("reading wallet-api's answer");
        let part: Part = part.map_err(|error| away(&error))?;
        all.redriven += part.redriven;
        after = part.next_after;
    }
    Ok(Json(all))
}

async fn redrive(lab: &Lab, path: &str, order: &Value) -> Result<Value, Problem> {
    let wallet_api = lab.stack().await?.wallet_api_admin;
    let order = http::client()
        .post(format!("{wallet_api}{path}"))
        .header("x-operator", OPERATOR)
        .json(order);
    let ask = async {
        let answer = order.send().await.context("wallet-api does not answer")?;
        let status = answer.status();
        let body = answer
            .bytes()
            .await
            .context("reading wallet-api's answer")?;
        anyhow::Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    };
    let (status, body) = ask.await.map_err(|error| away(&error))?;
    if status.is_success() {
        return Ok(body);
    }
    let detail = body.get("detail").and_then(Value::as_str);
    Err(conflict(detail.unwrap_or("wallet-api refuses it")))
}
