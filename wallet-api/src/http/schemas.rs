//! What the API's document says of amounts, currencies and the `Idempotency-Key`.

#![expect(dead_code, reason = "only the schemas are used")]

use events::Currency;
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{IntoParams, ToSchema};

/// More than zero, at most 1000000000, with at most the decimals of the currency. A number is read digit by digit, never as a
/// float.
#[derive(ToSchema)]
#[schema(as = Amount)]
#[serde(untagged)]
pub(super) enum AmountSchema {
    Text(#[schema(inline)] AmountText),
    Number(#[schema(inline)] AmountNumber),
}

#[derive(ToSchema)]
#[schema(pattern = r"^(0|[1-9][0-9]{0,9})(\.[0-9]+)?$", example = "499.00")]
pub(super) struct AmountText(String);

#[derive(ToSchema)]
#[schema(exclusive_minimum = 0, maximum = 1_000_000_000)]
pub(super) struct AmountNumber(f64);

/// An amount, or zero.
#[derive(ToSchema)]
#[schema(as = AmountOrZero)]
#[serde(untagged)]
pub(super) enum AmountOrZeroSchema {
    Text(#[schema(inline)] AmountText),
    Number(#[schema(inline)] NumberOrZero),
}

#[derive(ToSchema)]
#[schema(minimum = 0, maximum = 1_000_000_000)]
pub(super) struct NumberOrZero(f64);

/// A currency of ISO 4217 that is in use.
pub(super) struct CurrencyInUse;

impl utoipa::PartialSchema for CurrencyInUse {
    fn schema() -> RefOr<Schema> {
        let codes = Currency::in_use().map(Currency::code);
        let object = ObjectBuilder::new().schema_type(Type::String);
        object.enum_values(Some(codes)).build().into()
    }
}

impl ToSchema for CurrencyInUse {}

#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(super) struct KeyHeader {
    /// The client's name for this request: repeated with the same key, the request takes effect once. Without one the service
    /// generates a key.
    #[param(
        rename = "Idempotency-Key",
        nullable = false,
        pattern = "^[!-~]{1,255}$",
        example = "march-bill"
    )]
    key: Option<String>,
}
