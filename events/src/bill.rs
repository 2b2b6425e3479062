//! The three events of a bill payment, and their topics.

use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use crate::envelope::from_json;
use crate::{DecodeError, Message, Money};

/// Aggregate type of the events wallet-api publishes.
pub const WALLET_AGGREGATE: &str = "wallet";
/// Aggregate type of the events bill-payer publishes.
pub const BILL_AGGREGATE: &str = "bill";
/// Topic of [`WalletEvent`]s, keyed by wallet id.
pub const WALLET_TOPIC: &str = "wallet.events";
/// Topic of [`BillEvent`]s, keyed by wallet id.
pub const BILL_TOPIC: &str = "bill.events";

/// The only service that publishes on [`WALLET_TOPIC`] and on the topic of commands: the header `ce_source`.
pub const WALLET_SOURCE: &str = "wallet-api";
/// The only service that publishes on [`BILL_TOPIC`].
pub const BILL_SOURCE: &str = "bill-payer";

/// A wallet was debited for a bill: the provider is to be paid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BillPaymentRequested {
    /// The payment, and the provider's idempotency key.
    pub payment_id: Uuid,
    /// The wallet that was debited.
    pub wallet_id: Uuid,
    /// What the provider is to receive.
    #[serde(flatten)]
    pub money: Money,
    /// Which provider, such as `wifi`.
    #[serde(deserialize_with = "text")]
    #[cfg_attr(test, schemars(length(max = TEXT_CHARS_MAX)))]
    pub provider: String,
    /// The customer's account number at the provider.
    #[serde(deserialize_with = "text")]
    #[cfg_attr(test, schemars(length(max = TEXT_CHARS_MAX)))]
    pub account_number: String,
    /// The client's name for its request, so that a payment that is booked again from its event keeps it. Events of
    /// older versions have none; the bill payer has no use for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Whether an operator had the event published again: a bill that has ended then says its result again.
    #[serde(default, skip_serializing_if = "is_false")]
    pub redriven: bool,
}

/// Whose bill it is: what a result is compared with, so that no payment counts as paid that somebody else got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Payee {
    /// Which provider, such as `wifi`.
    #[serde(deserialize_with = "text")]
    #[cfg_attr(test, schemars(length(max = TEXT_CHARS_MAX)))]
    pub provider: String,
    /// The customer's account number at the provider.
    #[serde(deserialize_with = "text")]
    #[cfg_attr(test, schemars(length(max = TEXT_CHARS_MAX)))]
    pub account_number: String,
}

/// The provider took the money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BillPaid {
    /// The payment.
    pub payment_id: Uuid,
    /// The wallet that was debited for it.
    pub wallet_id: Uuid,
    /// What the provider received.
    #[serde(flatten)]
    pub money: Money,
    /// The provider's proof of payment.
    #[serde(deserialize_with = "text")]
    #[cfg_attr(test, schemars(length(max = TEXT_CHARS_MAX)))]
    pub receipt: String,
    /// Whom and for what; none in events of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payee: Option<Payee>,
}

/// The provider will never take the money: the wallet is to be refunded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BillPaymentFailed {
    /// The payment.
    pub payment_id: Uuid,
    /// The wallet that was debited for it.
    pub wallet_id: Uuid,
    /// What is to be refunded.
    #[serde(flatten)]
    pub money: Money,
    /// Why, in the provider's words.
    #[serde(deserialize_with = "text")]
    #[cfg_attr(test, schemars(length(max = TEXT_CHARS_MAX)))]
    pub reason: String,
    /// Whom and for what; none in events of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payee: Option<Payee>,
}

/// An event of [`WALLET_TOPIC`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WalletEvent {
    /// See [`BillPaymentRequested`].
    BillPaymentRequested(BillPaymentRequested),
}

/// An event of [`BILL_TOPIC`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BillEvent {
    /// See [`BillPaid`].
    Paid(BillPaid),
    /// See [`BillPaymentFailed`].
    Failed(BillPaymentFailed),
}

impl Message for WalletEvent {
    const SOURCE: &'static str = WALLET_SOURCE;

    fn decode(event_type: &str, payload: &[u8]) -> Result<Self, DecodeError> {
        match event_type {
            BillPaymentRequested::TYPE => {
                from_json(BillPaymentRequested::TYPE, payload).map(Self::BillPaymentRequested)
            }
            other => Err(DecodeError::unknown(other)),
        }
    }

    fn wallet_id(&self) -> Uuid {
        let Self::BillPaymentRequested(requested) = self;
        requested.wallet_id
    }
}

impl Message for BillEvent {
    const SOURCE: &'static str = BILL_SOURCE;

    fn decode(event_type: &str, payload: &[u8]) -> Result<Self, DecodeError> {
        match event_type {
            BillPaid::TYPE => from_json(BillPaid::TYPE, payload).map(Self::Paid),
            BillPaymentFailed::TYPE => {
                from_json(BillPaymentFailed::TYPE, payload).map(Self::Failed)
            }
            other => Err(DecodeError::unknown(other)),
        }
    }

    fn wallet_id(&self) -> Uuid {
        match self {
            Self::Paid(paid) => paid.wallet_id,
            Self::Failed(failed) => failed.wallet_id,
        }
    }
}

impl BillEvent {
    /// The payment this result is about.
    #[must_use]
    pub const fn payment_id(&self) -> Uuid {
        match self {
            Self::Paid(paid) => paid.payment_id,
            Self::Failed(failed) => failed.payment_id,
        }
    }

    /// What was paid, or is to be refunded.
    #[must_use]
    pub const fn money(&self) -> Money {
        match self {
            Self::Paid(paid) => paid.money,
            Self::Failed(failed) => failed.money,
        }
    }

    /// Whom bill-payer paid or tried to pay, and for whose bill; none in events of older versions.
    #[must_use]
    pub const fn payee(&self) -> Option<&Payee> {
        match self {
            Self::Paid(paid) => paid.payee.as_ref(),
            Self::Failed(failed) => failed.payee.as_ref(),
        }
    }
}

impl BillPaymentRequested {
    /// The `ce_type` header.
    pub const TYPE: &'static str = "BillPaymentRequested";
}

impl BillPaid {
    /// The `ce_type` header.
    pub const TYPE: &'static str = "BillPaid";
}

impl BillPaymentFailed {
    /// The `ce_type` header.
    pub const TYPE: &'static str = "BillPaymentFailed";
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands a reference over"
)]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// Characters of a text in an event.
const TEXT_CHARS_MAX: usize = 1_000;

/// A text that every database can hold: bounded, and without the NUL character, which PostgreSQL refuses.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.contains('\0') || text.chars().count() > TEXT_CHARS_MAX {
        return Err(serde::de::Error::custom(format!(
            "a text has at most {TEXT_CHARS_MAX} characters and no NUL among them"
        )));
    }
    Ok(text)
}
