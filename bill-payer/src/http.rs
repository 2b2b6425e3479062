//! The HTTP API: bills and dead letters, to read and to retry.

use std::num::NonZeroU16;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use chassis::Problem;
use chassis::database::Pool;
use chassis::http::{Page, PageQuery, Path, Query};
use operations::operator::{OperatorRequest, identify};
use serde::Deserialize;
use uuid::Uuid;

use crate::domain::{Call, Status};
use crate::intake::Intake;
use crate::parked::{self, RetrySummary};
use crate::reads::{self, BillView, BillWithCalls};

/// The routes of the API; `intake` takes dead letters that are retried.
pub fn routes(pool: Pool, intake: Intake) -> Router {
    Router::new()
        .route("/bills", get(list_bills))
        .route("/bills/retry", post(retry_bills))
        .route("/bills/{payment_id}", get(show_bill))
        .route("/bills/{payment_id}/retry", post(retry_bill))
        .with_state(pool.clone())
        .merge(operations::dead_letters::routes(pool, intake))
}

/// `?status=parked&limit=50&before=<cursor>`. Spelled out: the query string's decoder can't flatten.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BillsQuery {
    status: Option<Status>,
    limit: Option<NonZeroU16>,
    before: Option<Uuid>,
}

async fn list_bills(
    State(pool): State<Pool>,
    Query(query): Query<BillsQuery>,
) -> Result<Json<Page<BillView, Uuid>>, Problem> {
    let page = PageQuery::new(query.limit, query.before);
    let mut conn = pool.get().await?;
    let bills = reads::bills(&mut conn, query.status, page.before, page.limit()).await?;
    Ok(Json(page.page(bills, |bill| bill.payment_id)))
}

async fn show_bill(
    State(pool): State<Pool>,
    Path(payment_id): Path<Uuid>,
) -> Result<Json<BillWithCalls>, Problem> {
    let mut conn = pool.get().await?;
    reads::bill_with_calls(&mut conn, payment_id)
        .await
        .map(Json)
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RetryBill {
    #[serde(default)]
    ask: Call,
    note: Option<String>,
}

async fn retry_bill(
    State(pool): State<Pool>,
    Path(payment_id): Path<Uuid>,
    request: OperatorRequest<RetryBill>,
) -> Result<Json<BillWithCalls>, Problem> {
    let by = identify(&request.operator, request.body.note.as_deref())?;
    let mut conn = pool.get().await?;
    parked::retry(&mut conn, payment_id, request.body.ask, by).await?;
    reads::bill_with_calls(&mut conn, payment_id)
        .await
        .map(Json)
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RetryBills {
    /// How their last error begins.
    #[serde(default)]
    reason: String,
    #[serde(default)]
    ask: Call,
    note: Option<String>,
}

async fn retry_bills(
    State(pool): State<Pool>,
    request: OperatorRequest<RetryBills>,
) -> Result<Json<RetrySummary>, Problem> {
    let RetryBills { reason, ask, note } = request.body;
    let by = identify(&request.operator, note.as_deref())?;
    if reason.trim().is_empty() || reason.contains('\0') {
        return Err(Problem::invalid("say how the last error begins").in_field("reason"));
    }
    let mut conn = pool.get().await?;
    let retried = parked::retry_many(&mut conn, &reason, ask, by).await?;
    Ok(Json(retried))
}
