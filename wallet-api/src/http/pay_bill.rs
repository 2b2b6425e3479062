//! `POST /wallets/{id}/pay-bill`. [`Patterns::pay`](crate::patterns::Patterns::pay) writes the payment.

mod bodies;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use chassis::TraceContext;
use chassis::http::{JsonBody, Path};
use uuid::Uuid;

use self::bodies::{PayBillBody, PayBillView};
use super::app::{App, RequestKey};
use super::schemas::KeyHeader;
use crate::domain::Replayed;
use crate::pattern::Choice;
use crate::patterns::Answer;
use crate::request::PaymentRequest;

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
            let view = PayBillView::pending(&request, accepted);
            Ok((respond(accepted.payment_id, view), accepted.replayed))
        }
        Ok(Answer::Accepted(id)) => {
            let view = PayBillView::accepted(&request, id);
            Ok((respond(id, view), Replayed::No))
        }
        Err(error) => Err(error.into()),
    };
    key.echo(answer)
}

fn respond(id: Uuid, view: PayBillView) -> Response {
    let location = [(header::LOCATION, format!("/payments/{id}"))];
    (StatusCode::ACCEPTED, location, Json(view)).into_response()
}
