//! The JSON of the request and of its response.

use std::str::FromStr;

use chassis::openapi::{CurrencyCode, Sum};
use events::{Amount, Currency};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::Accepted;
use crate::http::schemas::AmountSchema;
use crate::reads::PaymentView;
use crate::request::{AccountNumber, PaymentRequest, Provider};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "amount": "499.00", "account_number": "WIFI-42" }))]
pub(in crate::http) struct PayBillBody {
    #[schema(value_type = AmountSchema)]
    pub(super) amount: Amount,
    /// The wallet's, where the client wants to be sure of it.
    #[schema(value_type = Option<CurrencyCode>)]
    pub(super) currency: Option<Currency>,
    /// The customer's number at the provider.
    #[schema(value_type = String, max_length = 64, pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$",
        example = "WIFI-42")]
    #[serde(deserialize_with = "parsed")]
    pub(super) account_number: AccountNumber,
    #[schema(value_type = String, required = false, pattern = "^[a-z0-9-]{1,32}$", default = "wifi")]
    #[serde(default, deserialize_with = "parsed")]
    pub(super) provider: Provider,
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

#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum PayBillView {
    Pending(PaymentView),
    Accepted(AcceptedView),
}

/// A payment that no wallet has been asked for yet.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AcceptedView {
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

impl PayBillView {
    /// The payment when it was accepted. A repeated request has the same fingerprint, so it asks for what the first one
    /// asked for.
    pub(super) fn pending(request: &PaymentRequest, accepted: Accepted) -> Self {
        let currency = accepted.money.currency();
        Self::Pending(PaymentView {
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
        })
    }

    pub(super) fn accepted(request: &PaymentRequest, id: Uuid) -> Self {
        Self::Accepted(AcceptedView {
            id,
            wallet_id: request.wallet_id,
            amount: request.amount,
            currency: request.currency,
            provider: request.provider.as_str().to_owned(),
            account_number: request.account_number.as_str().to_owned(),
            status: "accepted",
        })
    }
}
