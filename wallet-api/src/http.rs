//! The HTTP API: what a request must look like, and what it is answered.

use std::str::FromStr;

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chassis::database::Pool;
use chassis::http::{JsonBody, Page, PageQuery, Path, Query};
use chassis::{Problem, Traceparent};
use events::{Amount, Currency};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::{AccountNumber, Decline, IdempotencyKey, KeySource, PayBill, Provider};
use crate::group_commit::{Accepted, PayError, PaymentQueue, Replayed};
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
    pub payments: PaymentQueue,
}

/// The routes of the API.
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
        .merge(chassis::dead_letters::routes(
            app.pool.clone(),
            Settlement::new(app.pool),
        ))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateWallet {
    currency: Currency,
    #[serde(default, deserialize_with = "events::amount_or_zero")]
    opening_balance: Option<Amount>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TopUpRequest {
    amount: Amount,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PayBillRequest {
    amount: Amount,
    currency: Option<Currency>,
    #[serde(deserialize_with = "parsed")]
    account_number: AccountNumber,
    #[serde(default, deserialize_with = "parsed")]
    provider: Provider,
}

/// A value read from a JSON string.
fn parsed<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: FromStr<Err: std::fmt::Display>,
{
    String::deserialize(deserializer)?
        .parse()
        .map_err(serde::de::Error::custom)
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
    /// The wallet's balance behind the top-up.
    balance: String,
}

async fn create_wallet(
    State(app): State<App>,
    JsonBody(request): JsonBody<CreateWallet>,
) -> Result<Response, Problem> {
    let mut conn = app.pool.get().await?;
    let wallet = wallets::create(&mut conn, request.currency, request.opening_balance).await?;
    let view = NewWalletView {
        id: wallet.id,
        currency: request.currency,
        balance: request.currency.format(wallet.balance),
    };
    let location = [(header::LOCATION, format!("/wallets/{}", wallet.id))];
    Ok((StatusCode::CREATED, location, Json(view)).into_response())
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
) -> Result<Response, Problem> {
    let mut conn = app.pool.get().await?;
    let top_up = wallets::top_up(&mut conn, wallet_id, request.amount, &key.key)
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
    Ok(key.echo(answer))
}

async fn pay_bill(
    State(app): State<App>,
    Path(wallet_id): Path<Uuid>,
    trace: Traceparent,
    key: RequestKey,
    JsonBody(request): JsonBody<PayBillRequest>,
) -> Response {
    let request = PayBill {
        payment_id: Uuid::now_v7(),
        wallet_id,
        key: key.key.clone(),
        key_source: key.source,
        amount: request.amount,
        currency: request.currency,
        provider: request.provider,
        account_number: request.account_number,
        traceparent: trace.to_string(),
    };
    let answer = app.payments.pay(request.clone()).await;
    let answer = answer.map_err(Problem::from).map(|accepted| {
        let replayed = accepted.replayed;
        let view = accepted_view(&request, accepted);
        let location = [(header::LOCATION, format!("/payments/{}", view.id))];
        let answer = (StatusCode::ACCEPTED, location, Json(view)).into_response();
        (answer, replayed)
    });
    key.echo(answer)
}

/// The payment as it was when it was accepted. A repeated request has the same fingerprint, so what it
/// asks for is what the first one asked for.
fn accepted_view(request: &PayBill, accepted: Accepted) -> PaymentView {
    let currency = accepted.money.currency();
    PaymentView {
        id: accepted.payment_id,
        wallet_id: request.wallet_id,
        amount: currency.format(accepted.money.value()),
        currency: currency.code().to_owned(),
        provider: request.provider.as_str().to_owned(),
        account_number: request.account_number.as_str().to_owned(),
        status: "pending".to_owned(),
        receipt: None,
        reason: None,
        created_at: accepted.created_at,
        updated_at: accepted.created_at,
    }
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

impl From<PayError> for Problem {
    fn from(error: PayError) -> Self {
        match error {
            PayError::Declined(decline) => decline.into(),
            PayError::QueueFull => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "queue-full",
                "Too many payments at once",
                "nothing was written; try again with the same Idempotency-Key",
            )
            .retry_after(1),
            PayError::Unavailable => Self::unavailable(
                "the database does not answer; try again with the same Idempotency-Key",
            ),
            PayError::Unwritable => Self::internal(&error),
        }
    }
}

impl From<WalletError> for Problem {
    fn from(error: WalletError) -> Self {
        match error {
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
