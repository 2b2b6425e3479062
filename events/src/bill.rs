//! The three events of a bill payment, their topics and their headers.

use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use crate::Money;

/// Aggregate type of the events wallet-api publishes.
pub const WALLET_AGGREGATE: &str = "wallet";
/// Aggregate type of the events bill-payer publishes.
pub const BILL_AGGREGATE: &str = "bill";
/// Topic of [`WalletEvent`]s, keyed by wallet id.
pub const WALLET_TOPIC: &str = "wallet.events";
/// Topic of [`BillEvent`]s, keyed by wallet id.
pub const BILL_TOPIC: &str = "bill.events";

/// Names of the Kafka headers: CloudEvents 1.0 in binary mode, the trace context, and the place in the outbox.
pub mod header {
    /// Event id, a UUID; the same on every redelivery.
    pub const ID: &str = "ce_id";
    /// Event type, such as `BillPaid`.
    pub const TYPE: &str = "ce_type";
    /// The service that published the event.
    pub const SOURCE: &str = "ce_source";
    /// Version of the CloudEvents specification, `1.0`.
    pub const SPECVERSION: &str = "ce_specversion";
    /// Media type of the payload.
    pub const CONTENT_TYPE: &str = "content-type";
    /// W3C trace context of the request that caused the event.
    pub const TRACEPARENT: &str = "traceparent";
    /// Number of the event's row in its outbox, in decimal digits.
    ///
    /// Events of one key are first published in its order; other outboxes have numbers of their own. Not CloudEvents'
    /// `sequence`: the order of that one is that of text.
    pub const OUTBOX_SEQ: &str = "outbox_seq";
    /// Which count the numbers of [`OUTBOX_SEQ`] belong to: a letter and 16 hexadecimal digits.
    ///
    /// Numbers of one epoch can be compared. After a restore of the database they may begin again, in another epoch.
    pub const OUTBOX_EPOCH: &str = "outbox_epoch";
}

/// A wallet was debited for a bill: the provider is to be paid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    pub provider: String,
    /// The customer's account number at the provider.
    #[serde(deserialize_with = "text")]
    pub account_number: String,
}

/// The provider took the money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    pub receipt: String,
}

/// The provider will never take the money: the wallet is to be refunded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    pub reason: String,
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

/// What a message of a topic holds.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded<E> {
    /// An event this version knows.
    Known(E),
    /// A type this version does not know: to be skipped and counted.
    UnknownType,
}

/// The payload is not what its type promises: it never will be, so it is a dead letter.
#[derive(Debug, thiserror::Error)]
#[error("payload is not a {event_type}")]
pub struct DecodeError {
    event_type: &'static str,
    source: serde_json::Error,
}

impl WalletEvent {
    /// Decodes a message from its `ce_type` header and payload.
    ///
    /// # Errors
    /// The type is known and the payload does not fit it.
    pub fn decode(event_type: &str, payload: &[u8]) -> Result<Decoded<Self>, DecodeError> {
        match event_type {
            BillPaymentRequested::TYPE => {
                from_json(BillPaymentRequested::TYPE, payload).map(Self::BillPaymentRequested)
            }
            _ => return Ok(Decoded::UnknownType),
        }
        .map(Decoded::Known)
    }
}

impl BillEvent {
    /// Decodes a message from its `ce_type` header and payload.
    ///
    /// # Errors
    /// The type is known and the payload does not fit it.
    pub fn decode(event_type: &str, payload: &[u8]) -> Result<Decoded<Self>, DecodeError> {
        match event_type {
            BillPaid::TYPE => from_json(BillPaid::TYPE, payload).map(Self::Paid),
            BillPaymentFailed::TYPE => {
                from_json(BillPaymentFailed::TYPE, payload).map(Self::Failed)
            }
            _ => return Ok(Decoded::UnknownType),
        }
        .map(Decoded::Known)
    }

    /// The payment this result is about.
    #[must_use]
    pub const fn payment_id(&self) -> Uuid {
        match self {
            Self::Paid(paid) => paid.payment_id,
            Self::Failed(failed) => failed.payment_id,
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

fn from_json<'a, T: Deserialize<'a>>(
    event_type: &'static str,
    payload: &'a [u8],
) -> Result<T, DecodeError> {
    serde_json::from_slice(payload).map_err(|source| DecodeError { event_type, source })
}
