//! The bills to read: a page at a time, newest first; and how many wait, for the gauges.

use chassis::Problem;
use chassis::openapi::{CurrencyCode, Sum};
use chrono::{DateTime, Utc};
use diesel::dsl::sql;
use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Double, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use events::Currency;
use outbox::statement;
use rust_decimal::Decimal;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::Status;
use crate::schema::{bill_attempts, bills};

/// A bill, as the API shows it.
#[derive(Debug, Serialize, Queryable, Selectable, ToSchema)]
#[diesel(table_name = bills, check_for_backend(diesel::pg::Pg))]
pub(crate) struct BillView {
    pub(crate) payment_id: Uuid,
    pub(crate) wallet_id: Uuid,
    #[schema(value_type = Sum)]
    #[diesel(select_expression = sql("amount::text"), select_expression_type = SqlLiteral<Text>)]
    pub(crate) amount: String,
    #[schema(value_type = CurrencyCode)]
    pub(crate) currency: String,
    pub(crate) provider: String,
    pub(crate) account_number: String,
    #[schema(value_type = Status, inline)]
    pub(crate) status: String,
    /// Calls in this status, without those that failed in an outage.
    pub(crate) attempts: i32,
    /// When the first of them failed.
    pub(crate) failing_since: Option<DateTime<Utc>>,
    /// When the next call is planned, or the lease of the one in flight ends; null when no call is planned.
    #[diesel(select_expression = bills::next_attempt_at.nullable())]
    pub(crate) next_attempt_at: Option<DateTime<Utc>>,
    /// The provider's, once paid.
    pub(crate) receipt: Option<String>,
    /// Why the last call had no final result; of a failed bill, what the customer reads.
    pub(crate) last_error: Option<String>,
    pub(crate) traceparent: String,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
}

impl BillView {
    /// Puts a bill as the table has it into the form that the API shows.
    fn formatted(mut self) -> Result<Self, Problem> {
        let currency: Result<Currency, _> = self.currency.parse();
        let currency = currency.map_err(|error| Problem::internal(&error))?;
        let amount: Result<Decimal, _> = self.amount.parse();
        let amount = amount.map_err(|error| Problem::internal(&error))?;
        let status: Result<Status, _> = self.status.parse();
        self.amount = currency.format(amount);
        match status.map_err(|error| Problem::internal(&error))? {
            Status::Paying | Status::Cancelling => {}
            Status::Parked | Status::Paid | Status::Failed => self.next_attempt_at = None,
        }
        Ok(self)
    }
}

/// Bills taken in before the bill `before`, of one status or of all, newest first. By time and not by id alone: in
/// wallet-api's `listen-to-yourself` the id follows from the request.
pub(crate) async fn bills(
    conn: &mut AsyncPgConnection,
    status: Option<Status>,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<BillView>, Problem> {
    let mut query = bills::table
        .order((bills::created_at.desc(), bills::payment_id.desc()))
        .limit(limit)
        .select(BillView::as_select())
        .into_boxed();
    if let Some(before) = before {
        let taken_in_at = taken_in_at(conn, before).await?;
        // Compared as a row, which is one range of the index.
        let is_older = sql::<Bool>("(created_at, payment_id) < (")
            .bind::<Timestamptz, _>(taken_in_at)
            .sql(", ")
            .bind::<SqlUuid, _>(before)
            .sql(")");
        query = query.filter(is_older);
    }
    if let Some(status) = status {
        query = query.filter(bills::status.eq(status.into_str()));
    }
    let bills: Vec<BillView> = query.load(conn).await?;
    bills.into_iter().map(BillView::formatted).collect()
}

/// When the bill `before`, after which a page begins, was taken in.
async fn taken_in_at(conn: &mut AsyncPgConnection, before: Uuid) -> Result<DateTime<Utc>, Problem> {
    let taken_in_at = bills::table
        .find(before)
        .select(bills::created_at)
        .first(conn)
        .await
        .optional()?;
    taken_in_at.ok_or_else(|| {
        let detail = "is no bill, or one that was deleted since: begin with the first page";
        Problem::invalid(detail).in_field("before")
    })
}

async fn bill(conn: &mut AsyncPgConnection, payment_id: Uuid) -> Result<BillView, Problem> {
    let bill: Option<BillView> = bills::table
        .find(payment_id)
        .select(BillView::as_select())
        .first(conn)
        .await
        .optional()?;
    bill.ok_or_else(|| Problem::not_found("bill", payment_id))?
        .formatted()
}

/// What became of an attempt at a bill, as the API shows it; the migration describes the columns.
#[derive(Debug, Serialize, Queryable, Selectable, ToSchema)]
#[diesel(table_name = bill_attempts, check_for_backend(diesel::pg::Pg))]
pub(crate) struct AttemptView {
    /// `pay` or `cancel`.
    pub(crate) call: String,
    pub(crate) attempt: i32,
    /// Calls that had this number.
    pub(crate) times: i32,
    pub(crate) answered_at: DateTime<Utc>,
    pub(crate) took_ms: i32,
    pub(crate) outcome: String,
    /// `recorded`, `unspent`, `stale` or `contradiction`.
    pub(crate) verdict: String,
    pub(crate) detail: Option<String>,
}

/// A bill with its attempts, in the order of their results.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BillWithCalls {
    #[serde(flatten)]
    pub(crate) bill: BillView,
    pub(crate) calls: Vec<AttemptView>,
}

pub(crate) async fn bill_with_calls(
    conn: &mut AsyncPgConnection,
    payment_id: Uuid,
) -> Result<BillWithCalls, Problem> {
    let bill = bill(conn, payment_id).await?;
    let calls = bill_attempts::table
        .filter(bill_attempts::payment_id.eq(payment_id))
        .order((bill_attempts::answered_at, bill_attempts::attempt))
        .select(AttemptView::as_select())
        .load(conn)
        .await?;
    Ok(BillWithCalls { bill, calls })
}

/// Bills of a status that are not finished.
#[derive(Debug, QueryableByName)]
pub(crate) struct Unfinished {
    #[diesel(sql_type = Text)]
    pub(crate) status: String,
    #[diesel(sql_type = Double)]
    pub(crate) bills: f64,
    /// Age of the oldest one, in seconds.
    #[diesel(sql_type = Double)]
    pub(crate) oldest_s: f64,
}

/// The bills that are not finished, by status; a row for each status that has any.
///
/// Two halves, each by its own partial index: finished bills, which are most, are not read.
pub(crate) async fn unfinished(conn: &mut AsyncPgConnection) -> QueryResult<Vec<Unfinished>> {
    statement(
        "select status, count(*)::float8 as bills, \
             greatest(extract(epoch from now() - min(created_at)), 0)::float8 as oldest_s \
         from (select status, created_at from bills where status in ('paying', 'cancelling') \
               union all \
               select status, created_at from bills where status = 'parked') as unfinished \
         group by status",
    )
    .load(conn)
    .await
}
