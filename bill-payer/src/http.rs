//! The HTTP API: bills and dead letters, to look at.

use std::num::NonZeroU16;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use chassis::Problem;
use chassis::database::Pool;
use chassis::http::{Page, PageQuery, Path, Query};
use serde::Deserialize;
use uuid::Uuid;

use crate::domain::Status;
use crate::reads::{self, BillView, BillWithCalls};

/// The routes of the API.
pub fn routes(pool: Pool) -> Router {
    Router::new()
        .route("/bills", get(list_bills))
        .route("/bills/{payment_id}", get(show_bill))
        .with_state(pool.clone())
        .merge(chassis::dead_letters::routes(pool))
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
