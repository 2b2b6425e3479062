//! Names of the Kafka headers: CloudEvents 1.0 in binary mode, the trace context, and the place in the outbox.

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
/// What tracing systems add to it, often empty.
pub const TRACESTATE: &str = "tracestate";
/// Number of the event's row in its outbox, in decimal digits.
///
/// Events of one key are first published in its order; other outboxes have numbers of their own. Not CloudEvents'
/// `sequence`: the order of that one is that of text.
pub const OUTBOX_SEQ: &str = "outbox_seq";
/// Which count the numbers of [`OUTBOX_SEQ`] belong to: a letter and 16 hexadecimal digits.
///
/// Numbers of one epoch can be compared. After a restore of the database they may begin again, in another epoch.
pub const OUTBOX_EPOCH: &str = "outbox_epoch";
