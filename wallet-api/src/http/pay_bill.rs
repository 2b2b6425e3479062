//! `POST /wallets/{id}/pay-bill`, whatever the pattern.

use std::str::FromStr;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use chassis::http::{JsonBody, Path};
use chassis::{Problem, Traceparent};
use events::{Amount, Currency};
use serde::{Deserialize, Serialize};
use tracing::warn;
use uuid::Uuid;

use super::{App, RequestKey};
use crate::domain::{AccountNumber, PayBill, Provider};
use crate::group_commit::{Accepted, PayError, Replayed};
use crate::lab::{self, LabRequest};
use crate::patterns::{NotPaid, Paid};
use crate::reads::PaymentView;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PayBillRequest {
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
    (trace, lab): (Traceparent, LabRequest),
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
    let paid = app.payments.pay(lab.pattern, request.clone(), lab.crash);
    key.echo(match paid.await {
        Ok(Paid::Pending(accepted)) => {
            let replayed = accepted.replayed;
            let view = pending_view(&request, accepted);
            Ok((answer(view.id, view), replayed))
        }
        Ok(Paid::Accepted(id)) => Ok((answer(id, accepted_view(&request, id)), Replayed::No)),
        Err(NotPaid::SimulatedCrash) => return lab::hang_up(),
        Err(error) => Err(error.into()),
    })
}

fn answer(id: Uuid, view: impl Serialize) -> Response {
    let location = [(header::LOCATION, format!("/payments/{id}"))];
    (StatusCode::ACCEPTED, location, Json(view)).into_response()
}

/// The payment as it was when it was accepted. A repeated request has the same fingerprint, so what it
/// asks for is what the first one asked for.
fn pending_view(request: &PayBill, accepted: Accepted) -> PaymentView {
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

/// What is known of a payment that no wallet has been asked for yet.
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

fn accepted_view(request: &PayBill, id: Uuid) -> AcceptedView {
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

impl From<NotPaid> for Problem {
    fn from(error: NotPaid) -> Self {
        let detail = error.to_string();
        match error {
            NotPaid::Wallet(error) => error.into(),
            NotPaid::TooPrecise => Self::invalid(detail).in_field("amount"),
            NotPaid::CommandNotPublished(error) => {
                warn!("answering 503: {}", chassis::telemetry::chain(&error));
                Self::unavailable(
                    "Kafka does not answer; the payment may have been accepted all the same, so try \
                     again with the same Idempotency-Key",
                )
            }
            NotPaid::EventLost(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "event-lost",
                "The event was not published",
                "the wallet was debited, and nobody will pay the bill: that is what dual-write does",
            ),
            // Answered by nothing at all, before this.
            NotPaid::SimulatedCrash => Self::internal(&error),
        }
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
                "the database does not answer, or can't do this now (GET /readyz says more); try again with the \
                 same Idempotency-Key",
            ),
            PayError::Unwritable => Self::internal(&error),
        }
    }
}
