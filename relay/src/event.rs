//! What of an outbox row becomes what of a Kafka message: the same in every mode.

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Text, Uuid as SqlUuid};
use uuid::Uuid;

/// An event that is not yet known to be published: a row of `outbox`.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct Event {
    /// The row's number; within a key, the order of commits.
    #[diesel(sql_type = BigInt)]
    pub seq: i64,
    /// The event's identity, the same on every redelivery.
    #[diesel(sql_type = SqlUuid)]
    pub id: Uuid,
    /// What kind of thing the event is about.
    #[diesel(sql_type = Text)]
    pub aggregatetype: String,
    /// Which one: the message's key.
    #[diesel(sql_type = Text)]
    pub aggregateid: String,
    /// The event's type.
    #[diesel(sql_type = Text, column_name = "type")]
    pub event_type: String,
    /// The service that speaks.
    #[diesel(sql_type = Text)]
    pub source: String,
    /// Version of the CloudEvents specification.
    #[diesel(sql_type = Text)]
    pub specversion: String,
    /// Media type of the payload.
    #[diesel(sql_type = Text)]
    pub contenttype: String,
    /// W3C trace context of what caused the event.
    #[diesel(sql_type = Text)]
    pub traceparent: String,
    /// The body: PostgreSQL's own text of the jsonb, byte for byte.
    #[diesel(sql_type = Text)]
    pub payload: String,
}

impl Event {
    /// Events of one key are published in order.
    pub(crate) fn key(&self) -> &str {
        &self.aggregateid
    }

    /// Where the event is published.
    pub(crate) fn topic(&self, prefix: &str) -> String {
        format!("{prefix}{}.events", self.aggregatetype)
    }

    /// The message's headers, in order: CloudEvents 1.0 in binary mode, the trace context, the row's number, which
    /// tells whoever reads the topic whether events of a key came in order, and the epoch of these numbers
    /// ([`crate::session::epoch`]). `id` and `seq` are those of the event as text.
    ///
    /// Source: CloudEvents Kafka protocol binding 1.0.2, section 3.2.
    pub(crate) fn headers<'a>(
        &'a self,
        id: &'a str,
        seq: &'a str,
        epoch: &'a str,
    ) -> [(&'static str, &'a str); 8] {
        [
            ("ce_id", id),
            ("ce_type", &self.event_type),
            ("ce_source", &self.source),
            ("ce_specversion", &self.specversion),
            ("content-type", &self.contenttype),
            ("traceparent", &self.traceparent),
            ("outbox_seq", seq),
            ("outbox_epoch", epoch),
        ]
    }

    /// Which row this is: after a restore of the database a number may come again, with another id.
    pub(crate) const fn row(&self) -> (i64, Uuid) {
        (self.seq, self.id)
    }

    /// The part of the trace context that all log lines of a payment share; the whole if it is not one.
    pub(crate) fn trace_id(&self) -> &str {
        self.traceparent
            .split('-')
            .nth(1)
            .unwrap_or(&self.traceparent)
    }

    /// Bytes that the event occupies in memory and in a message, give or take the headers' names.
    pub(crate) fn bytes(&self) -> usize {
        self.payload.len() + self.aggregateid.len() + self.traceparent.len()
    }
}
