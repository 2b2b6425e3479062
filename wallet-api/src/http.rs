//! The HTTP API: what a request must look like, and what it is answered.

mod pay_bill;
mod redrive;

use std::sync::Arc;

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chassis::Problem;
use chassis::database::Pool;
use chassis::http::{JsonBody, Page, PageQuery, Path, Query};
use events::{Amount, Currency};
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use self::pay_bill::pay_bill;
use crate::dead_letters::Letters;
use crate::domain::{Decline, IdempotencyKey, KeySource};
use crate::group_commit::Replayed;
use crate::lab::Lab;
use crate::patterns::{Pattern, Patterns};
use crate::reads::{self, PaymentView, TransferView, WalletView};
use crate::settlement::Settlement;
use crate::wallets::{self, WalletError};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// What the routes work with.
#[derive(Clone)]
pub struct App {
    /// For everything but payments.
    pub pool: Pool,
    /// For payments.
    pub payments: Arc<Patterns>,
    /// How payments are written, unless the lab asks for another pattern.
    pub pattern: Pattern,
    /// Whether it may.
    pub lab: Lab,
}

/// The routes of the API.
///
/// A route that changes something takes an `Idempotency-Key` ([`RequestKey`]), or is an operator's and idempotent by
/// state: a dead letter is taken or discarded once, whoever asks and however often.
pub fn routes(app: App) -> Router {
    Router::new()
        .route("/wallets", post(create_wallet).get(list_wallets))
        .route("/wallets/{id}", get(show_wallet))
        .route("/wallets/{id}/top-ups", post(top_up))
        .route("/wallets/{id}/pay-bill", post(pay_bill))
        .route("/wallets/{id}/payments", get(list_payments))
        .route("/wallets/{id}/transfers", get(list_transfers))
        .route("/payments/{id}", get(show_payment))
        .with_state(app.clone())
        .merge(redrive::routes(app.pool.clone()))
        .merge(operations::dead_letters::routes(
            app.pool.clone(),
            Letters::new(Settlement::new(app.pool)),
        ))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateWallet {
    #[serde(deserialize_with = "in_use")]
    currency: Currency,
    #[serde(default, deserialize_with = "events::amount_or_zero")]
    opening_balance: Option<Amount>,
}

/// A currency that a new wallet may be in. Wallets keep theirs when it is withdrawn, so other places read any.
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
struct TopUpRequest {
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

async fn create_wallet(
    State(app): State<App>,
    key: RequestKey,
    JsonBody(request): JsonBody<CreateWallet>,
) -> Response {
    let CreateWallet {
        currency,
        opening_balance,
    } = request;
    let wallet = wallets::create(&app.pool, currency, opening_balance, &key.key)
        .await
        .map_err(Problem::from);
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

async fn list_wallets(
    State(app): State<App>,
    Query(query): Query<PageQuery<Uuid>>,
) -> Result<Json<Page<WalletView, Uuid>>, Problem> {
    let mut conn = app.pool.get().await?;
    let wallets = reads::wallets(&mut conn, query.before, query.limit()).await?;
    Ok(Json(query.page(wallets, |wallet| wallet.id)))
}

async fn show_wallet(
    State(app): State<App>,
    Path(id): Path<Uuid>,
) -> Result<Json<WalletView>, Problem> {
    let mut conn = app.pool.get().await?;
    reads::wallet(&mut conn, id).await.map(Json)
}

async fn top_up(
    State(app): State<App>,
    Path(wallet_id): Path<Uuid>,
    key: RequestKey,
    JsonBody(request): JsonBody<TopUpRequest>,
) -> Response {
    let top_up = wallets::top_up(&app.pool, wallet_id, request.amount, &key.key)
        .await
        .map_err(Problem::from);
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

async fn list_payments(
    State(app): State<App>,
    Path(wallet_id): Path<Uuid>,
    Query(query): Query<PageQuery<Uuid>>,
) -> Result<Json<Page<PaymentView, Uuid>>, Problem> {
    let mut conn = app.pool.get().await?;
    let payments = reads::payments(&mut conn, wallet_id, query.before, query.limit()).await?;
    Ok(Json(query.page(payments, |payment| payment.id)))
}

async fn list_transfers(
    State(app): State<App>,
    Path(wallet_id): Path<Uuid>,
    Query(query): Query<PageQuery<Uuid>>,
) -> Result<Json<Page<TransferView, Uuid>>, Problem> {
    let mut conn = app.pool.get().await?;
    let transfers = reads::transfers(&mut conn, wallet_id, query.before, query.limit()).await?;
    Ok(Json(query.page(transfers, |transfer| transfer.id)))
}

async fn show_payment(
    State(app): State<App>,
    Path(id): Path<Uuid>,
) -> Result<Json<PaymentView>, Problem> {
    let mut conn = app.pool.get().await?;
    reads::payment(&mut conn, id).await.map(Json)
}

/// The `Idempotency-Key` of a request, made up where the client sent none.
struct RequestKey {
    key: IdempotencyKey,
    source: KeySource,
}

impl<S: Send + Sync> FromRequestParts<S> for RequestKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
        let (key, source) = match (values.next(), values.next()) {
            (None, _) => (IdempotencyKey::generate(), KeySource::Generated),
            (Some(value), None) => {
                let key = value.to_str().ok().and_then(|text| text.parse().ok());
                (key.ok_or_else(invalid_key)?, KeySource::Client)
            }
            (Some(_), Some(_)) => return Err(invalid_key()),
        };
        Ok(Self { key, source })
    }
}

fn invalid_key() -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "invalid-idempotency-key",
        "The Idempotency-Key is not valid",
        "send the header Idempotency-Key once, with 1 to 255 visible ASCII characters, or not at all",
    )
}

impl RequestKey {
    /// Adds the key to the answer, also to a refusal: it is what to try again with.
    fn echo(self, answer: Result<(Response, Replayed), Problem>) -> Response {
        let (mut response, replayed) =
            answer.unwrap_or_else(|problem| (problem.into_response(), Replayed::No));
        let headers = response.headers_mut();
        if let Ok(value) = HeaderValue::from_str(self.key.as_str()) {
            headers.insert(IDEMPOTENCY_KEY, value);
        }
        match replayed {
            Replayed::No => {}
            Replayed::Yes => {
                headers.insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
            }
        }
        response
    }
}

impl From<WalletError> for Problem {
    fn from(error: WalletError) -> Self {
        match error {
            WalletError::Pool(error) => error.into(),
            WalletError::Database(error) => error.into(),
            WalletError::Declined(decline) => decline.into(),
        }
    }
}

impl From<Decline> for Problem {
    fn from(decline: Decline) -> Self {
        let detail = decline.to_string();
        let (status, slug, title) = match decline {
            Decline::UnknownWallet(_) => {
                (StatusCode::NOT_FOUND, "unknown-wallet", "Unknown wallet")
            }
            Decline::InsufficientFunds { .. } => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "insufficient-funds",
                "Insufficient funds",
            ),
            Decline::CurrencyMismatch { .. } => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "currency-mismatch",
                "Another currency than the wallet's",
            ),
            Decline::TooManyDecimals(_) => return Self::invalid(detail).in_field("amount"),
            Decline::KeyReused => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "The Idempotency-Key was used for another request",
            ),
        };
        Self::new(status, slug, title, detail)
    }
}
