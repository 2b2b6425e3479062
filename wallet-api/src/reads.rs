//! What the API shows: wallets, payments and transfers, a page at a time, newest first.

use axum::http::StatusCode;
use chassis::Problem;
use chassis::openapi::{CurrencyCode, Sum};
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Timestamptz, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use events::Currency;
use outbox::statement;
use rust_decimal::Decimal;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::Decline;
use crate::schema::{self, PaymentRow};

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WalletView {
    pub(crate) id: Uuid,
    #[schema(value_type = CurrencyCode)]
    pub(crate) currency: String,
    /// At the currency's scale.
    #[schema(value_type = Sum)]
    pub(crate) balance: String,
    pub(crate) created_at: DateTime<Utc>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PaymentView {
    pub(crate) id: Uuid,
    pub(crate) wallet_id: Uuid,
    /// At the currency's scale; a declined payment keeps all decimals of its request.
    #[schema(value_type = Sum)]
    pub(crate) amount: String,
    #[schema(value_type = CurrencyCode)]
    pub(crate) currency: String,
    pub(crate) provider: String,
    pub(crate) account_number: String,
    #[schema(pattern = "^(pending|paid|refunded|declined)$")]
    pub(crate) status: String,
    pub(crate) receipt: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TransferView {
    pub(crate) id: Uuid,
    #[schema(pattern = "^(top_up|payment|refund)$")]
    pub(crate) kind: String,
    pub(crate) debit_account: Uuid,
    pub(crate) credit_account: Uuid,
    /// At the currency's scale.
    #[schema(value_type = Sum)]
    pub(crate) amount: String,
    #[schema(value_type = CurrencyCode)]
    pub(crate) currency: String,
    pub(crate) payment_id: Option<Uuid>,
    pub(crate) created_at: DateTime<Utc>,
}

/// A sum as text, at the scale of a stored currency, or at its own scale if the currency can't express it.
fn at_scale(value: Decimal, currency: &str) -> Result<String, Problem> {
    let currency: Currency = currency
        .parse()
        .map_err(|error| Problem::internal(&error))?;
    let exact = value.normalize();
    if exact.scale() > currency.scale() {
        return Ok(exact.to_string());
    }
    Ok(currency.format(value))
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = schema::wallets, check_for_backend(diesel::pg::Pg))]
struct WalletRow {
    id: Uuid,
    currency: String,
    balance: Decimal,
    created_at: DateTime<Utc>,
}

impl TryFrom<WalletRow> for WalletView {
    type Error = Problem;

    fn try_from(row: WalletRow) -> Result<Self, Problem> {
        Ok(Self {
            id: row.id,
            balance: at_scale(row.balance, &row.currency)?,
            currency: row.currency,
            created_at: row.created_at,
        })
    }
}

impl TryFrom<PaymentRow> for PaymentView {
    type Error = Problem;

    fn try_from(row: PaymentRow) -> Result<Self, Problem> {
        Ok(Self {
            id: row.id,
            wallet_id: row.wallet_id,
            amount: at_scale(row.amount, &row.currency)?,
            currency: row.currency,
            provider: row.provider,
            account_number: row.account_number,
            status: row.status,
            receipt: row.receipt,
            reason: row.reason,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

#[derive(QueryableByName)]
#[diesel(table_name = schema::transfers, check_for_backend(diesel::pg::Pg))]
struct TransferRow {
    id: Uuid,
    kind: String,
    debit_account: Uuid,
    credit_account: Uuid,
    amount: Decimal,
    payment_id: Option<Uuid>,
    created_at: DateTime<Utc>,
}

/// Wallets made before `before`, of `owner` or of everybody. This service makes their ids, which carry the time.
pub(crate) async fn wallets(
    conn: &mut AsyncPgConnection,
    owner: Option<&str>,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<WalletView>, Problem> {
    use schema::wallets::dsl;
    let mut wallets = dsl::wallets
        .filter(dsl::id.lt(before.unwrap_or(Uuid::max())))
        .order(dsl::id.desc())
        .limit(limit)
        .select(WalletRow::as_select())
        .into_boxed();
    if let Some(owner) = owner {
        wallets = wallets.filter(dsl::owner.eq(owner));
    }
    let rows: Vec<WalletRow> = wallets.load(conn).await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

pub(crate) async fn is_wallet_of(
    conn: &mut AsyncPgConnection,
    id: Uuid,
    owner: &str,
) -> QueryResult<bool> {
    use schema::wallets::dsl;
    let wallet = dsl::wallets.find(id).filter(dsl::owner.eq(owner));
    diesel::select(diesel::dsl::exists(wallet))
        .get_result(conn)
        .await
}

pub(crate) async fn is_payment_of(
    conn: &mut AsyncPgConnection,
    id: Uuid,
    owner: &str,
) -> QueryResult<bool> {
    let payment = schema::payments::table.find(id);
    let wallet_id: Option<Uuid> = payment
        .select(schema::payments::wallet_id)
        .first(conn)
        .await
        .optional()?;
    match wallet_id {
        Some(wallet_id) => is_wallet_of(conn, wallet_id, owner).await,
        None => Ok(false),
    }
}

pub(crate) async fn wallet(conn: &mut AsyncPgConnection, id: Uuid) -> Result<WalletView, Problem> {
    schema::wallets::table
        .find(id)
        .select(WalletRow::as_select())
        .first(conn)
        .await
        .optional()?
        .ok_or_else(|| Problem::from(Decline::UnknownWallet(id)))?
        .try_into()
}

pub(crate) async fn payment(
    conn: &mut AsyncPgConnection,
    id: Uuid,
) -> Result<PaymentView, Problem> {
    schema::payments::table
        .find(id)
        .select(PaymentRow::as_select())
        .first(conn)
        .await
        .optional()?
        .ok_or_else(|| no_payment(id))?
        .try_into()
}

pub(crate) fn no_payment(id: Uuid) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "not-found",
        "Not found",
        format!(
            "there is no payment {id}; one that was answered \"accepted\" may not be there yet: ask again"
        ),
    )
}

/// A wallet's payments before a moment and an id, newest first: a range of the index `payments_of_wallet_by_time`.
///
/// By time and not by id alone: in `listen-to-yourself` the id follows from the request and carries no time.
pub const PAYMENTS_OF_WALLET: &str = "\
    select id, wallet_id, amount, currency, provider, account_number, status, idempotency_key, fingerprint, \
    receipt, reason, created_at, updated_at from payments where wallet_id = $1 and (created_at, id) < (coalesce($2, 'infinity'), $3) \
    order by created_at desc, id desc limit $4";

/// Payments of a wallet, made before the payment `before`.
pub(crate) async fn payments(
    conn: &mut AsyncPgConnection,
    wallet_id: Uuid,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<PaymentView>, Problem> {
    wallet(conn, wallet_id).await?;
    let made_at = match before {
        Some(before) => Some(made_at(conn, wallet_id, before).await?),
        None => None,
    };
    let rows: Vec<PaymentRow> = statement(PAYMENTS_OF_WALLET)
        .bind::<SqlUuid, _>(wallet_id)
        .bind::<Nullable<Timestamptz>, _>(made_at)
        .bind::<SqlUuid, _>(before.unwrap_or(Uuid::max()))
        .bind::<BigInt, _>(limit)
        .load(conn)
        .await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

/// The time of the payment that a page begins after.
async fn made_at(
    conn: &mut AsyncPgConnection,
    wallet_id: Uuid,
    before: Uuid,
) -> Result<DateTime<Utc>, Problem> {
    use schema::payments::dsl;
    let made_at = dsl::payments
        .find(before)
        .filter(dsl::wallet_id.eq(wallet_id))
        .select(dsl::created_at)
        .first(conn)
        .await
        .optional()?;
    made_at.ok_or_else(|| {
        let detail = "is no payment of this wallet: pass the next_before of the page before";
        Problem::invalid(detail).in_field("before")
    })
}

/// Transfers that changed a wallet's balance, made before `before`. This service makes their ids, which carry the time.
pub(crate) async fn transfers(
    conn: &mut AsyncPgConnection,
    wallet_id: Uuid,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<TransferView>, Problem> {
    let wallet = wallet(conn, wallet_id).await?;
    let before = before.unwrap_or(Uuid::max());
    // Each half walks its own index and stops at the limit.
    let rows: Vec<TransferRow> = statement(
        "(select id, kind, debit_account, credit_account, amount, payment_id, created_at from transfers \
          where debit_account = $1 and kind = 'payment' and id < $2 order by id desc limit $3) \
         union all \
         (select id, kind, debit_account, credit_account, amount, payment_id, created_at from transfers \
          where credit_account = $4 and kind in ('top_up', 'refund') and id < $5 order by id desc limit $6) \
         order by id desc limit $7",
    )
    .bind::<SqlUuid, _>(wallet_id)
    .bind::<SqlUuid, _>(before)
    .bind::<BigInt, _>(limit)
    .bind::<SqlUuid, _>(wallet_id)
    .bind::<SqlUuid, _>(before)
    .bind::<BigInt, _>(limit)
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(TransferView {
                id: row.id,
                kind: row.kind,
                debit_account: row.debit_account,
                credit_account: row.credit_account,
                amount: at_scale(row.amount, &wallet.currency)?,
                currency: wallet.currency.clone(),
                payment_id: row.payment_id,
                created_at: row.created_at,
            })
        })
        .collect()
}
