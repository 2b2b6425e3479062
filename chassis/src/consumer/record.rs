//! A message of a topic, by value, read so that no byte of it can end the process.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Header, Headers as _, Message as _};
use serde_json::{Value, json};

use crate::TraceContext;
use crate::trace::{TRACEPARENT, TRACESTATE};

/// A message of a topic.
#[derive(Debug, Clone)]
pub struct Record {
    /// The topic that it was read from.
    pub topic: String,
    /// The partition that it was read from.
    pub partition: i32,
    /// Its offset in the partition.
    pub offset: i64,
    /// When it was written, in Unix milliseconds, if the message says so.
    pub timestamp_ms: Option<i64>,
    /// The key's bytes.
    pub key: Option<Vec<u8>>,
    /// The headers in order, with their values' bytes.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// The payload's bytes.
    pub payload: Option<Vec<u8>>,
}

impl Record {
    /// The first header of that name, if it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(key, _)| key == name)?;
        std::str::from_utf8(value.as_deref()?).ok()
    }

    /// The trace that its headers name.
    pub(crate) fn trace(&self) -> Option<TraceContext> {
        let header = |name| self.header(name).unwrap_or_default();
        TraceContext::read(header(TRACEPARENT.as_str()), header(TRACESTATE.as_str()))
    }

    /// The headers' names and values; a header without a value has an empty one.
    pub fn header_values(&self) -> impl Iterator<Item = (&str, &[u8])> + Clone {
        let headers = self.headers.iter();
        headers.map(|(name, value)| (name.as_str(), value.as_deref().unwrap_or_default()))
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.topic, self.partition, self.offset)
    }
}

/// What was read of a message.
#[derive(Debug)]
pub struct ReadRecord {
    /// All that could be read.
    pub record: Record,
    /// What could not be read, if anything: the record is a dead letter.
    pub defect: Option<String>,
}

impl From<&BorrowedMessage<'_>> for ReadRecord {
    fn from(message: &BorrowedMessage<'_>) -> Self {
        let Headers {
            readable,
            unreadable,
        } = headers(message);
        let owned = |header: Header<'_, &[u8]>| {
            let value = header.value.map(<[u8]>::to_vec);
            (header.key.to_owned(), value)
        };
        Self {
            record: Record {
                topic: message.topic().to_owned(),
                partition: message.partition(),
                offset: message.offset(),
                timestamp_ms: message.timestamp().to_millis(),
                key: message.key().map(<[u8]>::to_vec),
                headers: readable.into_iter().map(owned).collect(),
                payload: message.payload().map(<[u8]>::to_vec),
            },
            defect: (unreadable > 0)
                .then(|| format!("the names of {unreadable} headers are not UTF-8")),
        }
    }
}

/// The headers of a message.
#[derive(Debug)]
pub struct Headers<'a> {
    /// Names and values, in order.
    pub readable: Vec<Header<'a, &'a [u8]>>,
    /// How many there are besides, whose names are not UTF-8.
    pub unreadable: usize,
}

/// Reads the headers of a message, one by one: rdkafka panics at a name that is not UTF-8, and Kafka's brokers do not
/// check names. (rdkafka and librdkafka end a name at a NUL character, and do not tell.)
#[must_use]
pub fn headers<'a>(message: &'a BorrowedMessage<'_>) -> Headers<'a> {
    let headers = message.headers();
    let count = headers.map_or(0, BorrowedHeaders::count);
    let read = |place| catch_unwind(AssertUnwindSafe(|| headers?.try_get(place)));
    let readable: Vec<_> = (0..count)
        .filter_map(|place| read(place).ok().flatten())
        .collect();
    Headers {
        unreadable: count - readable.len(),
        readable,
    }
}

/// Headers as a dead letter keeps them: an array of `[name, value]`. A value that a text of PostgreSQL can't hold is
/// kept as well as it can be, followed by its hexadecimal digits.
#[must_use]
pub fn headers_to_json(headers: &[(String, Option<Vec<u8>>)]) -> Value {
    let header = |(name, value): &(String, Option<Vec<u8>>)| match value {
        None => json!([name, null]),
        Some(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') => json!([name, text]),
            _ => {
                let text = String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}");
                json!([name, text, hex(bytes)])
            }
        },
    };
    headers.iter().map(header).collect()
}

/// The headers that [`headers_to_json`] wrote.
#[must_use]
pub fn headers_from_json(headers: &Value) -> Vec<(String, Option<Vec<u8>>)> {
    let header = |header: &Value| {
        let name = header.get(0)?.as_str()?.to_owned();
        let text = header.get(1).and_then(Value::as_str);
        let value = match header.get(2).and_then(Value::as_str) {
            Some(digits) => unhex(digits),
            None => text.map(|text| text.as_bytes().to_vec()),
        };
        Some((name, value))
    };
    headers
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(header)
        .collect()
}

/// Bytes in hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_letter_keeps_every_byte_of_the_headers() {
        let headers = vec![
            ("ce_id".to_owned(), Some(b"1".to_vec())),
            ("none".to_owned(), None),
            ("empty".to_owned(), Some(Vec::new())),
            ("latin".to_owned(), Some(b"caf\xe9".to_vec())),
            ("nul".to_owned(), Some(b"a\0b".to_vec())),
        ];
        let json = headers_to_json(&headers);
        assert_eq!(headers_from_json(&json), headers);
        assert!(!json.to_string().contains("\\u0000"), "{json}");
        let before = json!([["ce_id", "1"], ["ce_type", "BillPaid"]]);
        assert_eq!(headers_to_json(&headers_from_json(&before)), before);
    }
}
