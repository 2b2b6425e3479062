//! An event of the outbox, and the message it becomes: the same whoever publishes it.

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
    /// The kind of thing that the event is about.
    #[diesel(sql_type = Text)]
    pub aggregatetype: String,
    /// The identity of that thing: the message's key.
    #[diesel(sql_type = Text)]
    pub aggregateid: String,
    /// The event's type.
    #[diesel(sql_type = Text, column_name = "type")]
    pub event_type: String,
    /// The service that published the event.
    #[diesel(sql_type = Text)]
    pub source: String,
    /// Version of the CloudEvents specification.
    #[diesel(sql_type = Text)]
    pub specversion: String,
    /// Media type of the payload.
    #[diesel(sql_type = Text)]
    pub contenttype: String,
    /// W3C trace context of the request that caused the event.
    #[diesel(sql_type = Text)]
    pub traceparent: String,
    /// What tracing systems add to it, often nothing.
    #[diesel(sql_type = Text)]
    pub tracestate: String,
    /// The body: PostgreSQL's own text of the jsonb, byte for byte.
    #[diesel(sql_type = Text)]
    pub payload: String,
}

impl Event {
    /// Returns the message's key. Events of one key are published in order.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.aggregateid
    }

    /// Returns the topic that the event is published to.
    #[must_use]
    pub fn topic(&self, prefix: &str) -> String {
        format!("{prefix}{}.events", self.aggregatetype)
    }

    /// Returns the message's headers, in order: CloudEvents 1.0 in binary mode, the trace context, the row's number, which
    /// tells a reader of the topic whether events of a key came in order, and the epoch of these numbers, which
    /// changes when they may begin again. `id` and `seq` are those of the event as text.
    ///
    /// Source: CloudEvents Kafka protocol binding 1.0.2, section 3.2.
    #[must_use]
    pub fn headers<'a>(
        &'a self,
        id: &'a str,
        seq: &'a str,
        epoch: &'a str,
    ) -> [(&'static str, &'a str); 9] {
        [
            ("ce_id", id),
            ("ce_type", &self.event_type),
            ("ce_source", &self.source),
            ("ce_specversion", &self.specversion),
            ("content-type", &self.contenttype),
            ("traceparent", &self.traceparent),
            ("tracestate", &self.tracestate),
            ("outbox_seq", seq),
            ("outbox_epoch", epoch),
        ]
    }

    /// Identifies the row: after a restore of the database a number may come again, with another id.
    #[must_use]
    pub const fn row(&self) -> (i64, Uuid) {
        (self.seq, self.id)
    }

    /// Returns the part of the trace context that all log lines of a request share; the whole if it has no parts.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        self.traceparent
            .split('-')
            .nth(1)
            .unwrap_or(&self.traceparent)
    }

    /// Estimates the bytes that the event occupies in memory and in a message.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.payload.len() + self.aggregateid.len() + self.traceparent.len() + self.tracestate.len()
    }
}
