//! Wallets over HTTP: making them, topping them up, and reading what happened to them.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use chassis::Problem;
use chassis::http::{JsonBody, Page, PageQuery, Path, Query};
use events::{Amount, Currency};
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use super::app::{App, RequestKey};
use super::ownership::Owner;
use crate::reads::{self, PaymentView, TransferView, WalletView};
use crate::wallets;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateWallet {
    #[serde(deserialize_with = "in_use")]
    currency: Currency,
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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TopUpRequest {
    amount: Amount,
}

#[derive(Debug, Serialize)]
struct NewWalletView {
    id: Uuid,
    currency: Currency,
    balance: String,
}

#[derive(Debug, Serialize)]
struct TopUpView {
    id: Uuid,
    wallet_id: Uuid,
    amount: String,
    currency: Currency,
    /// The wallet's balance after the top-up.
    balance: String,
}

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

pub(super) async fn show_wallet(
    State(app): State<App>,
    Path(id): Path<Uuid>,
) -> Result<Json<WalletView>, Problem> {
    let mut conn = app.pool.get().await?;
    reads::wallet(&mut conn, id).await.map(Json)
}

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

pub(super) async fn list_payments(
    State(app): State<App>,
    Path(wallet_id): Path<Uuid>,
    Query(query): Query<PageQuery<Uuid>>,
) -> Result<Json<Page<PaymentView, Uuid>>, Problem> {
    let mut conn = app.pool.get().await?;
    let payments = reads::payments(&mut conn, wallet_id, query.before, query.limit()).await?;
    Ok(Json(query.page(payments, |payment| payment.id)))
}

pub(super) async fn list_transfers(
    State(app): State<App>,
    Path(wallet_id): Path<Uuid>,
    Query(query): Query<PageQuery<Uuid>>,
) -> Result<Json<Page<TransferView, Uuid>>, Problem> {
    let mut conn = app.pool.get().await?;
    let transfers = reads::transfers(&mut conn, wallet_id, query.before, query.limit()).await?;
    Ok(Json(query.page(transfers, |transfer| transfer.id)))
}

pub(super) async fn show_payment(
    State(app): State<App>,
    Path(id): Path<Uuid>,
) -> Result<Json<PaymentView>, Problem> {
    let mut conn = app.pool.get().await?;
    reads::payment(&mut conn, id).await.map(Json)
}
