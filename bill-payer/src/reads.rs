//! What can be looked at: bills, a page at a time, newest first; and how many wait, for the gauges.

use chassis::Problem;
use chrono::{DateTime, Utc};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Double, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use events::Currency;
use outbox::statement;
use rust_decimal::Decimal;
use serde::Serialize;
use uuid::Uuid;

use crate::domain::Status;
use crate::schema::{bill_attempts, bills};

/// A bill, as the API shows it.
#[derive(Debug, Serialize)]
pub(crate) struct BillView {
    pub(crate) payment_id: Uuid,
    pub(crate) wallet_id: Uuid,
    /// At the currency's scale.
    pub(crate) amount: String,
    pub(crate) currency: String,
    pub(crate) provider: String,
    pub(crate) account_number: String,
    /// `paying`, `cancelling`, `parked`, `paid` or `failed`.
    pub(crate) status: String,
    /// Calls in this status, but for those that failed in an outage.
    pub(crate) attempts: i32,
    /// When the first of them failed.
    pub(crate) failing_since: Option<DateTime<Utc>>,
    /// When the next call is planned, or the lease of the one in flight ends; null when there is none.
    pub(crate) next_attempt_at: Option<DateTime<Utc>>,
    /// The provider's, once paid.
    pub(crate) receipt: Option<String>,
    /// Why the last call had no final answer; of a failed bill, what the customer reads.
    pub(crate) last_error: Option<String>,
    pub(crate) traceparent: String,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = bills, check_for_backend(diesel::pg::Pg))]
struct BillRow {
    payment_id: Uuid,
    wallet_id: Uuid,
    amount: Decimal,
    currency: String,
    provider: String,
    account_number: String,
    traceparent: String,
    status: String,
    attempts: i32,
    failing_since: Option<DateTime<Utc>>,
    next_attempt_at: DateTime<Utc>,
    receipt: Option<String>,
    last_error: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl TryFrom<BillRow> for BillView {
    type Error = Problem;

    fn try_from(row: BillRow) -> Result<Self, Problem> {
        let currency: Currency = row
            .currency
            .parse()
            .map_err(|error| Problem::internal(&error))?;
        let status: Status = row
            .status
            .parse()
            .map_err(|error| Problem::internal(&error))?;
        let due = match status {
            Status::Paying | Status::Cancelling => Some(row.next_attempt_at),
            Status::Parked | Status::Paid | Status::Failed => None,
        };
        Ok(Self {
            payment_id: row.payment_id,
            wallet_id: row.wallet_id,
            amount: currency.format(row.amount),
            currency: row.currency,
            provider: row.provider,
            account_number: row.account_number,
            status: row.status,
            attempts: row.attempts,
            failing_since: row.failing_since,
            next_attempt_at: due,
            receipt: row.receipt,
            last_error: row.last_error,
            traceparent: row.traceparent,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
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
        .select(BillRow::as_select())
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
        query = query.filter(bills::status.eq(status.as_str()));
    }
    let rows: Vec<BillRow> = query.load(conn).await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

/// When the bill was taken in that a page begins after.
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

/// One bill.
async fn bill(conn: &mut AsyncPgConnection, payment_id: Uuid) -> Result<BillView, Problem> {
    bills::table
        .find(payment_id)
        .select(BillRow::as_select())
        .first(conn)
        .await
        .optional()?
        .ok_or_else(|| Problem::not_found("bill", payment_id))?
        .try_into()
}

/// What came of an attempt at a bill, as the API shows it; the columns are described in the migration.
#[derive(Debug, Serialize, Queryable, Selectable)]
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

/// A bill with what came of its attempts, those answered first at the beginning.
#[derive(Debug, Serialize)]
pub(crate) struct BillWithCalls {
    #[serde(flatten)]
    pub(crate) bill: BillView,
    pub(crate) calls: Vec<AttemptView>,
}

/// One bill, and what was called for it.
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
/// Two halves, each by its own partial index: the finished ones, which are most, are not looked at.
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
