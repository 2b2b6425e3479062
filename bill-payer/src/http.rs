//! The HTTP API: bills and dead letters, to read and to retry.

use std::num::NonZeroU16;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use chassis::Problem;
use chassis::access::Audience;
use chassis::database::Pool;
use chassis::http::{Page, PageQuery, Path, Query};
use chassis::openapi::Id;
use operations::operator::{NoteText, OperatorHeader, OperatorRequest, identify};
use serde::Deserialize;
use utoipa::{OpenApi, ToSchema};
use uuid::Uuid;

use crate::domain::{Call, Status};
use crate::intake::Intake;
use crate::parked::{self, RetrySummary};
use crate::reads::{self, BillView, BillWithCalls};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "bill-payer",
        description = "Bills, and the messages that could not be taken."
    ),
    paths(list_bills, show_bill, retry_bill, retry_bills)
)]
struct Bills;

/// The document of [`routes`].
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    let bills = Bills::openapi().merge_from(operations::dead_letters::Document::openapi());
    chassis::openapi::complete(bills, Audience::Operators, &[])
}

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
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct BillsQuery {
    #[param(inline)]
    status: Option<Status>,
    /// More than 500 counts as 500.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 65535, default = 50)]
    limit: Option<NonZeroU16>,
    /// The `next_before` of the previous page.
    before: Option<Uuid>,
}

/// Lists bills, newest first
#[utoipa::path(get, path = "/bills", tag = "bills", params(BillsQuery), responses(
    (status = 200, description = "A page of bills", body = Page<BillView, Id>),
    (status = 422, description = "`invalid-request`: `before` is not a bill", body = Problem, content_type = "application/problem+json"),
))]
async fn list_bills(
    State(pool): State<Pool>,
    Query(query): Query<BillsQuery>,
) -> Result<Json<Page<BillView, Uuid>>, Problem> {
    let page = PageQuery::new(query.limit, query.before);
    let mut conn = pool.get().await?;
    let bills = reads::bills(&mut conn, query.status, page.before, page.limit()).await?;
    Ok(Json(page.page(bills, |bill| bill.payment_id)))
}

/// Shows a bill with its calls to the provider
#[utoipa::path(get, path = "/bills/{payment_id}", tag = "bills", params(("payment_id" = Uuid, Path)), responses(
    (status = 200, description = "The bill", body = BillWithCalls),
))]
async fn show_bill(
    State(pool): State<Pool>,
    Path(payment_id): Path<Uuid>,
) -> Result<Json<BillWithCalls>, Problem> {
    let mut conn = pool.get().await?;
    reads::bill_with_calls(&mut conn, payment_id)
        .await
        .map(Json)
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RetryBill {
    #[serde(default)]
    ask: Call,
    #[schema(value_type = Option<NoteText>)]
    note: Option<String>,
}

/// Cancels or pays a parked bill
#[utoipa::path(post, path = "/bills/{payment_id}/retry", tag = "bills", params(("payment_id" = Uuid, Path), OperatorHeader), request_body = Option<RetryBill>, responses(
    (status = 200, description = "The bill", body = BillWithCalls),
    (status = 409, description = "`bill-not-parked`", body = Problem, content_type = "application/problem+json"),
))]
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

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RetryBills {
    /// Selects the parked bills whose last error begins with this text.
    #[schema(required, min_length = 1)]
    #[serde(default)]
    reason: String,
    #[serde(default)]
    ask: Call,
    #[schema(value_type = Option<NoteText>)]
    note: Option<String>,
}

/// Cancels or pays parked bills, at most 500
#[utoipa::path(post, path = "/bills/retry", tag = "bills", params(OperatorHeader), request_body = RetryBills, responses(
    (status = 200, description = "How many", body = RetrySummary),
))]
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
