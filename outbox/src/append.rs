//! Appending events to the outbox.

use diesel::sql_types::{Jsonb, Text, Uuid as SqlUuid};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use uuid::Uuid;

use crate::statement;

/// An event to be published once the surrounding transaction has committed.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// Identity of the event, kept on every redelivery; a UUID v7.
    pub id: Uuid,
    /// What kind of thing the event is about; the topic is `<aggregate_type>.events`.
    pub aggregate_type: &'static str,
    /// Which one: the message key. Events of one key are published in the order of their appends, if
    /// the transaction locks the aggregate before it appends.
    pub aggregate_id: String,
    /// The event's type, such as `BillPaid`.
    pub event_type: &'static str,
    /// The service that speaks.
    pub source: &'static str,
    /// W3C trace context of the request that caused the event.
    pub traceparent: String,
    /// W3C `tracestate` that came with it, often empty.
    pub tracestate: String,
    /// The body, at most 512 KiB as stored.
    pub payload: serde_json::Value,
}

/// Why events were not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The connection is not inside a transaction: the event could commit without its cause.
    #[error("an event can only be appended inside the transaction that causes it")]
    OutsideTransaction,
    /// The database refused.
    #[error("appending to the outbox")]
    Database(#[from] diesel::result::Error),
}

/// Appends `events` in their order, in one statement.
///
/// Call it last in the transaction, after the locks of all aggregates are taken: only then is the
/// order of `seq` the order of commits for each of them.
///
/// # Errors
/// [`AppendError::OutsideTransaction`] where no transaction is open, and whatever the database says.
pub async fn append(
    conn: &mut AsyncPgConnection,
    events: Vec<NewEvent>,
) -> Result<(), AppendError> {
    type Manager = <AsyncPgConnection as AsyncConnection>::TransactionManager;
    let depth =
        <Manager as diesel_async::TransactionManager<_>>::transaction_manager_status_mut(conn)
            .transaction_depth()?;
    if depth.is_none() {
        return Err(AppendError::OutsideTransaction);
    }
    if events.is_empty() {
        return Ok(());
    }
    statement(
        "insert into outbox (id, aggregatetype, aggregateid, type, source, traceparent, tracestate, payload) \
         select id, aggregatetype, aggregateid, type, source, traceparent, tracestate, payload \
         from unnest($1, $2, $3, $4, $5, $6, $7, $8) with ordinality \
         as event (id, aggregatetype, aggregateid, type, source, traceparent, tracestate, payload, position) \
         order by position",
    )
    .column::<SqlUuid, _, _>(&events, |event| event.id)
    .column::<Text, _, _>(&events, |event| event.aggregate_type)
    .column::<Text, _, _>(&events, |event| &event.aggregate_id)
    .column::<Text, _, _>(&events, |event| event.event_type)
    .column::<Text, _, _>(&events, |event| event.source)
    .column::<Text, _, _>(&events, |event| &event.traceparent)
    .column::<Text, _, _>(&events, |event| &event.tracestate)
    .column::<Jsonb, _, _>(&events, |event| &event.payload)
    .execute(conn)
    .await?;
    Ok(())
}
