//! What is around a payload: who says what, about which wallet. Every consumer reads its messages by
//! [`Envelope::read`], so that none of them checks less than another.

use serde::Deserialize;
use uuid::Uuid;

use crate::header;

/// What travels on a topic: its events or commands.
pub trait Message: Sized {
    /// The only service that publishes on the topic.
    const SOURCE: &'static str;

    /// Decodes a message from its `ce_type` header and payload.
    ///
    /// # Errors
    /// The type is unknown, or the payload does not fit it.
    fn decode(event_type: &str, payload: &[u8]) -> Result<Self, DecodeError>;

    /// The wallet that the message is about.
    fn wallet_id(&self) -> Uuid;
}

/// The envelope of an event or a command, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The event's id, the same on every redelivery.
    pub id: Uuid,
    /// The event's type, such as `BillPaid`.
    pub event_type: &'a str,
    /// The wallet that the event is about: the message's key.
    pub wallet_id: Uuid,
    /// The W3C trace context; empty if the message has none.
    pub traceparent: &'a str,
    /// What tracing systems add to it, often nothing.
    pub tracestate: &'a str,
    /// The body, never empty.
    pub payload: &'a [u8],
}

/// A message has no valid envelope, and never will: it is a dead letter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// A header that every message has.
    #[error("the header {0} is missing")]
    HeaderMissing(&'static str),
    /// Nobody knows which of the two is meant.
    #[error("the header {0} is there more than once")]
    HeaderRepeated(&'static str),
    /// The header is not UTF-8.
    #[error("the header {0} is not text")]
    HeaderNotText(&'static str),
    /// The id is not a UUID.
    #[error("the header {} is not a UUID", header::ID)]
    EventId,
    /// Another service has published on this topic.
    #[error(
        "the header {} is {found:?}; messages of this topic come from {expected:?}",
        header::SOURCE
    )]
    Source {
        /// The publisher, as the message says.
        found: String,
        /// The service that the topic belongs to.
        expected: &'static str,
    },
    /// The key is not a UUID in its usual spelling.
    #[error("the key is not a wallet id")]
    Key,
    /// There is nothing to decode.
    #[error("there is no payload")]
    PayloadMissing,
}

/// A message can't be read, and never will be: it is a dead letter.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// A key or a header is missing or invalid.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The type may be one of a newer version, which has to be rolled out to the consumers first.
    #[error("this version does not know the type {0:?}")]
    UnknownType(String),
    /// The type is known, and the payload does not fit it.
    #[error("payload is not a {event_type}")]
    Payload {
        /// The type of the message.
        event_type: &'static str,
        /// The place and the defect.
        source: serde_json::Error,
    },
    /// The key decides the partition, and so the order.
    #[error("the key is not the wallet id {0}")]
    Key(Uuid),
}

impl DecodeError {
    /// Quotes an unknown type, which may be any text, up to a length.
    pub(crate) fn unknown(event_type: &str) -> Self {
        Self::UnknownType(event_type.chars().take(TYPE_CHARS_MAX).collect())
    }
}

/// Characters of an unknown type that an error shows.
const TYPE_CHARS_MAX: usize = 100;

impl<'a> Envelope<'a> {
    /// Reads a message: checks its envelope, decodes its payload, and compares the two.
    ///
    /// # Errors
    /// The message is a dead letter: no retry will read it.
    pub fn read<M: Message>(
        key: Option<&'a [u8]>,
        headers: impl Iterator<Item = (&'a str, &'a [u8])> + Clone,
        payload: Option<&'a [u8]>,
    ) -> Result<(Self, M), DecodeError> {
        let envelope = Self::check(key, headers, payload, M::SOURCE)?;
        let message = M::decode(envelope.event_type, envelope.payload)?;
        let wallet_id = message.wallet_id();
        if envelope.wallet_id != wallet_id {
            return Err(DecodeError::Key(wallet_id));
        }
        Ok((envelope, message))
    }

    fn check(
        key: Option<&'a [u8]>,
        headers: impl Iterator<Item = (&'a str, &'a [u8])> + Clone,
        payload: Option<&'a [u8]>,
        source: &'static str,
    ) -> Result<Self, EnvelopeError> {
        let optional = |name: &'static str| {
            let mut values = headers.clone().filter(|(found, _)| *found == name);
            match (values.next(), values.next()) {
                (None, _) => Ok(None),
                (Some((_, value)), None) => match std::str::from_utf8(value) {
                    Ok(text) => Ok(Some(text)),
                    Err(_) => Err(EnvelopeError::HeaderNotText(name)),
                },
                (Some(_), Some(_)) => Err(EnvelopeError::HeaderRepeated(name)),
            }
        };
        let required = |name| optional(name)?.ok_or(EnvelopeError::HeaderMissing(name));
        // A lost trace is no reason not to pay.
        let trace = |name| optional(name).ok().flatten().unwrap_or_default();
        let event_type = required(header::TYPE)?;
        let payload = payload.filter(|payload| !payload.is_empty());
        let payload = payload.ok_or(EnvelopeError::PayloadMissing)?;
        let id = required(header::ID)?.parse();
        let id = id.map_err(|_| EnvelopeError::EventId)?;
        let found = required(header::SOURCE)?;
        if found != source {
            let found = found.to_owned();
            return Err(EnvelopeError::Source {
                found,
                expected: source,
            });
        }
        Ok(Self {
            id,
            event_type,
            wallet_id: wallet_id(key).ok_or(EnvelopeError::Key)?,
            traceparent: trace(header::TRACEPARENT),
            tracestate: trace(header::TRACESTATE),
            payload,
        })
    }
}

/// Only the spelling that the services use: another one has another partition.
fn wallet_id(key: Option<&[u8]>) -> Option<Uuid> {
    let text = std::str::from_utf8(key?).ok()?;
    let id: Uuid = text.parse().ok()?;
    (id.to_string() == text).then_some(id)
}

pub(crate) fn from_json<'a, T: Deserialize<'a>>(
    event_type: &'static str,
    payload: &'a [u8],
) -> Result<T, DecodeError> {
    serde_json::from_slice(payload).map_err(|source| DecodeError::Payload { event_type, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0190f2a0-0000-7000-8000-000000000001";
    const WALLET: &str = "0190f2a0-0000-7000-8000-000000000002";

    type Headers = Vec<(&'static str, &'static [u8])>;

    fn headers() -> Headers {
        vec![
            ("ce_id", ID.as_bytes()),
            ("ce_type", b"BillPaid"),
            ("ce_source", b"bill-payer"),
            ("traceparent", b"00-1"),
        ]
    }

    fn read(key: &'static str, headers: &Headers) -> Result<Envelope<'static>, EnvelopeError> {
        let headers = headers.iter().copied();
        let key = Some(key.as_bytes());
        Envelope::check(key, headers, Some(b"{}"), "bill-payer")
    }

    #[test]
    fn a_message_of_the_right_service_has_an_envelope() {
        let envelope = read(WALLET, &headers()).unwrap();
        assert_eq!(envelope.id.to_string(), ID);
        assert_eq!(envelope.wallet_id.to_string(), WALLET);
        assert_eq!(envelope.event_type, "BillPaid");
        assert_eq!(envelope.traceparent, "00-1");
    }

    #[test]
    fn a_message_that_lacks_anything_or_has_it_twice_has_none() {
        for (index, name) in ["ce_id", "ce_type", "ce_source"].into_iter().enumerate() {
            let mut without = headers();
            without.remove(index);
            let missing = EnvelopeError::HeaderMissing(name);
            assert_eq!(read(WALLET, &without), Err(missing));
            let mut twice = headers();
            twice.push(headers()[index]);
            let repeated = EnvelopeError::HeaderRepeated(name);
            assert_eq!(read(WALLET, &twice), Err(repeated));
            let mut latin = headers();
            latin[index].1 = b"caf\xe9";
            let not_text = EnvelopeError::HeaderNotText(name);
            assert_eq!(read(WALLET, &latin), Err(not_text));
        }
        let mut other = headers();
        other[0].1 = b"1";
        assert_eq!(read(WALLET, &other), Err(EnvelopeError::EventId));
        let mut forged = headers();
        forged[2].1 = b"wallet-api";
        let error = read(WALLET, &forged).unwrap_err();
        assert!(matches!(error, EnvelopeError::Source { .. }), "{error}");
        for key in ["", "k", "0190F2A0-0000-7000-8000-00000000000A"] {
            assert_eq!(read(key, &headers()), Err(EnvelopeError::Key), "{key}");
        }
        let headers = headers();
        let empty = Envelope::check(None, headers.iter().copied(), Some(b""), "bill-payer");
        assert_eq!(empty, Err(EnvelopeError::PayloadMissing));
    }

    #[test]
    fn a_trace_that_is_no_text_is_left_out() {
        let mut odd = headers();
        odd[3].1 = b"\xff";
        assert_eq!(read(WALLET, &odd).unwrap().traceparent, "");
    }
}
