//! Wallets over HTTP: making them, topping them up, and reading what happened to them.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use chassis::Problem;
use chassis::http::{JsonBody, Page, PageQuery, Path, Query};
use chassis::openapi::{CurrencyCode, Id, PageParams, Sum};
use events::{Amount, Currency};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::app::{App, RequestKey};
use super::ownership::Owner;
use super::schemas::{AmountOrZeroSchema, AmountSchema, CurrencyInUse, KeyHeader};
use crate::reads::{self, PaymentView, TransferView, WalletView};
use crate::wallets;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "currency": "INR", "opening_balance": "1000.00" }))]
pub(super) struct CreateWallet {
    #[schema(value_type = CurrencyInUse)]
    #[serde(deserialize_with = "in_use")]
    currency: Currency,
    #[schema(value_type = AmountOrZeroSchema, required = false)]
    #[serde(default, deserialize_with = "events::amount_or_zero")]
    opening_balance: Option<Amount>,
}

/// A currency that a new wallet may be in. Wallets keep a currency that is withdrawn, so reads take any.
fn in_use<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Currency, D::Error> {
    let currency = Currency::deserialize(deserializer)?;
    if currency.is_in_use() {
        return Ok(currency);
    }
    Err(serde::de::Error::custom(format!(
        "{currency} was withdrawn, or is no money that people pay with: take a currency that is in use"
    )))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "amount": "500.00" }))]
pub(super) struct TopUpRequest {
    #[schema(value_type = AmountSchema)]
    amount: Amount,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NewWalletView {
    id: Uuid,
    #[schema(value_type = CurrencyCode)]
    currency: Currency,
    #[schema(value_type = Sum)]
    balance: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TopUpView {
    id: Uuid,
    wallet_id: Uuid,
    #[schema(value_type = Sum)]
    amount: String,
    #[schema(value_type = CurrencyCode)]
    currency: Currency,
    /// The wallet's balance after the top-up.
    #[schema(value_type = Sum)]
    balance: String,
}

/// Creates a wallet
#[utoipa::path(post, path = "/wallets", tag = "wallets", params(KeyHeader), request_body = CreateWallet, responses(
    (status = 201, description = "The wallet", body = NewWalletView, headers(
        ("Location" = String, description = "The wallet's path"),
        ("Idempotency-Key" = String, description = "The key of the request"),
        ("Idempotency-Replayed" = String, description = "`true`: this is the response of an earlier request"),
    )),
))]
pub(super) async fn create_wallet(
    State(app): State<App>,
    owner: Owner,
    key: RequestKey,
    JsonBody(request): JsonBody<CreateWallet>,
) -> Response {
    let CreateWallet {
        currency,
        opening_balance,
    } = request;
    let create = async || {
        if opening_balance.is_some() {
            owner.may_add_money()?;
        }
        let owner = owner.0.as_deref();
        let wallet = wallets::create(&app.pool, currency, opening_balance, owner, &key.key).await;
        wallet.map_err(Problem::from)
    };
    let wallet = create().await;
    let answer = wallet.map(|wallet| {
        let location = [(header::LOCATION, format!("/wallets/{}", wallet.id))];
        let view = NewWalletView {
            id: wallet.id,
            currency,
            balance: currency.format(wallet.balance),
        };
        let answer = (StatusCode::CREATED, location, Json(view)).into_response();
        (answer, wallet.replayed)
    });
    key.echo(answer)
}

/// Lists wallets, newest first
#[utoipa::path(get, path = "/wallets", tag = "wallets", params(PageParams<Id>), responses(
    (status = 200, description = "A page of wallets", body = Page<WalletView, Id>),
))]
pub(super) async fn list_wallets(
    State(app): State<App>,
    Owner(owner): Owner,
    Query(query): Query<PageQuery<Uuid>>,
) -> Result<Json<Page<WalletView, Uuid>>, Problem> {
    let mut conn = app.pool.get().await?;
    let (before, limit) = (query.before, query.limit());
    let wallets = reads::wallets(&mut conn, owner.as_deref(), before, limit).await?;
    Ok(Json(query.page(wallets, |wallet| wallet.id)))
}

/// Shows a wallet
#[utoipa::path(get, path = "/wallets/{id}", tag = "wallets", params(("id" = Uuid, Path)), responses(
    (status = 200, description = "The wallet", body = WalletView),
))]
pub(super) async fn show_wallet(
    State(app): State<App>,
    Path(id): Path<Uuid>,
) -> Result<Json<WalletView>, Problem> {
    let mut conn = app.pool.get().await?;
    reads::wallet(&mut conn, id).await.map(Json)
}

/// Adds money to a wallet
#[utoipa::path(post, path = "/wallets/{id}/top-ups", tag = "wallets", params(("id" = Uuid, Path), KeyHeader), request_body = TopUpRequest, responses(
    (status = 201, description = "The top-up", body = TopUpView, headers(
        ("Idempotency-Key" = String, description = "The key of the request"),
        ("Idempotency-Replayed" = String, description = "`true`: this is the response of an earlier request"),
    )),
))]
pub(super) async fn top_up(
    State(app): State<App>,
    Path(wallet_id): Path<Uuid>,
    owner: Owner,
    key: RequestKey,
    JsonBody(request): JsonBody<TopUpRequest>,
) -> Response {
    let top_up = async || {
        owner.may_add_money()?;
        let top_up = wallets::top_up(&app.pool, wallet_id, request.amount, &key.key).await;
        top_up.map_err(Problem::from)
    };
    let top_up = top_up().await;
    let answer = top_up.map(|top_up| {
        let currency = top_up.money.currency();
        let view = TopUpView {
            id: top_up.id,
            wallet_id,
            amount: currency.format(top_up.money.value()),
            currency,
            balance: currency.format(top_up.balance),
        };
        let answer = (StatusCode::CREATED, Json(view)).into_response();
        (answer, top_up.replayed)
    });
    key.echo(answer)
}

/// Lists a wallet's payments, newest first
#[utoipa::path(get, path = "/wallets/{id}/payments", tag = "payments", params(("id" = Uuid, Path), PageParams<Id>), responses(
    (status = 200, description = "A page of payments", body = Page<PaymentView, Id>),
    (status = 422, description = "`invalid-request`: `before` is not a payment of this wallet", body = Problem,
        content_type = "application/problem+json"),
))]
pub(super) async fn list_payments(
    State(app): State<App>,
    Path(wallet_id): Path<Uuid>,
    Query(query): Query<PageQuery<Uuid>>,
) -> Result<Json<Page<PaymentView, Uuid>>, Problem> {
    let mut conn = app.pool.get().await?;
    let payments = reads::payments(&mut conn, wallet_id, query.before, query.limit()).await?;
    Ok(Json(query.page(payments, |payment| payment.id)))
}

/// Lists the ledger entries that changed a wallet's balance, newest first
#[utoipa::path(get, path = "/wallets/{id}/transfers", tag = "wallets", params(("id" = Uuid, Path), PageParams<Id>), responses(
    (status = 200, description = "A page of transfers", body = Page<TransferView, Id>),
))]
pub(super) async fn list_transfers(
    State(app): State<App>,
    Path(wallet_id): Path<Uuid>,
    Query(query): Query<PageQuery<Uuid>>,
) -> Result<Json<Page<TransferView, Uuid>>, Problem> {
    let mut conn = app.pool.get().await?;
    let transfers = reads::transfers(&mut conn, wallet_id, query.before, query.limit()).await?;
    Ok(Json(query.page(transfers, |transfer| transfer.id)))
}

/// Shows a payment
#[utoipa::path(get, path = "/payments/{id}", tag = "payments", params(("id" = Uuid, Path)), responses(
    (status = 200, description = "The payment", body = PaymentView),
))]
pub(super) async fn show_payment(
    State(app): State<App>,
    Path(id): Path<Uuid>,
) -> Result<Json<PaymentView>, Problem> {
    let mut conn = app.pool.get().await?;
    reads::payment(&mut conn, id).await.map(Json)
}
