//! `POST /wallets/{id}/pay-bill`. [`Patterns::pay`](crate::patterns::Patterns::pay) writes the payment.

use std::str::FromStr;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use chassis::TraceContext;
use chassis::http::{JsonBody, Path};
use events::{Amount, Currency};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::app::{App, RequestKey};
use crate::domain::{Accepted, Replayed};
use crate::pattern::Choice;
use crate::patterns::Answer;
use crate::reads::PaymentView;
use crate::request::{AccountNumber, PaymentRequest, Provider};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PayBillBody {
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

pub(super) async fn pay_bill(
    State(app): State<App>,
    Path(wallet_id): Path<Uuid>,
    Extension(choice): Extension<Choice>,
    trace: TraceContext,
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
        trace,
    };
    let answer = match app.payments.pay(choice, &request).await {
        Ok(Answer::Pending(accepted)) => {
            let view = pending_view(&request, accepted);
            Ok((respond(view.id, view), accepted.replayed))
        }
        Ok(Answer::Accepted(id)) => Ok((respond(id, accepted_view(&request, id)), Replayed::No)),
        Err(error) => Err(error.into()),
    };
    key.echo(answer)
}

fn respond(id: Uuid, view: impl Serialize) -> Response {
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
#[derive(Debug, Serialize)]
struct AcceptedView {
    id: Uuid,
    wallet_id: Uuid,
    /// As the request says it: the scale is the wallet's currency's.
    amount: Amount,
    /// Null unless the request says it.
    currency: Option<Currency>,
    provider: String,
    account_number: String,
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
