//! `POST /wallets/{id}/pay-bill`. [`Patterns::pay`](crate::patterns::Patterns::pay) writes the payment.

use std::str::FromStr;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use chassis::Traceparent;
use chassis::http::{JsonBody, Path};
use chassis::openapi::Sum;
use events::{Amount, Currency};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::app::{App, RequestKey};
use super::schemas::{AmountSchema, CurrencyCode, KeyHeader};
use crate::domain::{Accepted, Replayed};
use crate::pattern::Choice;
use crate::patterns::Answer;
use crate::reads::PaymentView;
use crate::request::{AccountNumber, PaymentRequest, Provider};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "amount": "499.00", "account_number": "WIFI-42" }))]
pub(super) struct PayBillBody {
    #[schema(value_type = AmountSchema)]
    amount: Amount,
    /// The wallet's, where the client wants to be sure of it.
    #[schema(value_type = Option<CurrencyCode>)]
    currency: Option<Currency>,
    /// The customer's number at the provider.
    #[schema(value_type = String, max_length = 64, pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$",
        example = "WIFI-42")]
    #[serde(deserialize_with = "parsed")]
    account_number: AccountNumber,
    #[schema(value_type = String, required = false, pattern = "^[a-z0-9-]{1,32}$", default = "wifi")]
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

/// Pays a bill from a wallet
///
/// The payment is `pending` at first, and then `paid` or `refunded`. In the pattern listen-to-yourself it is `accepted` at first,
/// and may end as `declined`.
#[utoipa::path(post, path = "/wallets/{id}/pay-bill", tag = "payments", params(("id" = Uuid, Path), KeyHeader), request_body = PayBillBody, responses(
    (status = 202, description = "The payment", body = PayBillView, headers(
        ("Location" = String, description = "The payment's path"),
        ("Idempotency-Key" = String, description = "The key of the request"),
        ("Idempotency-Replayed" = String, description = "`true`: this is the response of an earlier request"),
    )),
))]
pub(super) async fn pay_bill(
    State(app): State<App>,
    Path(wallet_id): Path<Uuid>,
    Extension(choice): Extension<Choice>,
    trace: Traceparent,
    key: RequestKey,
    JsonBody(body): JsonBody<PayBillBody>,
) -> Response {
    let request = PaymentRequest {
        payment_id: Uuid::now_v7(),
        wallet_id,
        key: key.key.clone(),
        key_source: key.source,
        amount: body.amount,
        currency: body.currency,
        provider: body.provider,
        account_number: body.account_number,
        traceparent: trace.to_string(),
    };
    let answer = match app.payments.pay(choice, &request).await {
        Ok(Answer::Pending(accepted)) => {
            let view = PayBillView::Pending(pending_view(&request, accepted));
            Ok((respond(accepted.payment_id, view), accepted.replayed))
        }
        Ok(Answer::Accepted(id)) => {
            let view = PayBillView::Accepted(accepted_view(&request, id));
            Ok((respond(id, view), Replayed::No))
        }
        Err(error) => Err(error.into()),
    };
    key.echo(answer)
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum PayBillView {
    Pending(PaymentView),
    Accepted(AcceptedView),
}

fn respond(id: Uuid, view: PayBillView) -> Response {
    let location = [(header::LOCATION, format!("/payments/{id}"))];
    (StatusCode::ACCEPTED, location, Json(view)).into_response()
}

/// The payment when it was accepted. A repeated request has the same fingerprint, so it asks for what the first one
/// asked for.
fn pending_view(request: &PaymentRequest, accepted: Accepted) -> PaymentView {
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

/// A payment that no wallet has been asked for yet.
#[derive(Debug, Serialize, ToSchema)]
struct AcceptedView {
    id: Uuid,
    wallet_id: Uuid,
    /// As the request says it: the scale is the wallet's currency's.
    #[schema(value_type = Sum)]
    amount: Amount,
    /// Null unless the request says it.
    #[schema(value_type = Option<CurrencyCode>)]
    currency: Option<Currency>,
    provider: String,
    account_number: String,
    #[schema(pattern = "^accepted$")]
    status: &'static str,
}

fn accepted_view(request: &PaymentRequest, id: Uuid) -> AcceptedView {
    AcceptedView {
        id,
        wallet_id: request.wallet_id,
        amount: request.amount,
        currency: request.currency,
        provider: request.provider.as_str().to_owned(),
        account_number: request.account_number.as_str().to_owned(),
        status: "accepted",
    }
}
