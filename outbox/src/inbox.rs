//! Taking each event once.

use std::collections::{HashMap, HashSet};

use diesel::QueryableByName;
use diesel::sql_types::{Binary, Nullable, Text, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use uuid::Uuid;

use crate::statement;

/// What makes an event this event and no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventIdentity<'a> {
    /// Who published it: ids are unique for a source, as CloudEvents says.
    pub source: &'a str,
    /// Its id.
    pub id: Uuid,
    /// A hash of what it says. It has to be the same for each redelivery, however the payload is spelled.
    pub fingerprint: [u8; 32],
}

/// Whether a consumer has met an event before.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Never: act on it, in this transaction.
    First,
    /// A redelivery: its effect has been committed, or comes earlier in this batch.
    Again,
    /// Another event with the same source and id: what it says has had no effect, and must not be dropped silently.
    Conflict,
}

/// Takes `events` for `consumer` and returns for each, in order, whether this is the first time.
///
/// Call it in the transaction of the events' effect: the two commit together or not at all. A
/// concurrent transaction that takes the same event waits for this one to end.
///
/// # Errors
/// The database fails; the transaction can't go on.
pub async fn take(
    conn: &mut AsyncPgConnection,
    consumer: &str,
    events: &[EventIdentity<'_>],
) -> diesel::QueryResult<Vec<Seen>> {
    let inserted: Vec<Row> = statement(
        "insert into inbox (consumer, source, event_id, fingerprint) \
         select $1, source, event_id, fingerprint \
         from unnest($2, $3, $4) with ordinality as event (source, event_id, fingerprint, position) \
         order by source, event_id, position \
         on conflict do nothing returning source, event_id, fingerprint",
    )
    .bind::<Text, _>(consumer)
    .column::<Text, _, _>(events, |event| event.source)
    .column::<SqlUuid, _, _>(events, |event| event.id)
    .column::<Binary, _, _>(events, |event| event.fingerprint.as_slice())
    .load(conn)
    .await?;
    // An entry is removed when its event is met: a second mention of it in the batch is a redelivery too.
    let mut first: HashSet<(String, Uuid)> = inserted
        .into_iter()
        .map(|row| (row.source, row.event_id))
        .collect();
    let is_first: Vec<bool> = events
        .iter()
        .map(|event| first.remove(&(event.source.to_owned(), event.id)))
        .collect();
    if is_first.iter().all(|first| *first) {
        return Ok(vec![Seen::First; events.len()]);
    }
    let stored = stored(conn, consumer, events).await?;
    let seen = |(event, is_first): (&EventIdentity<'_>, bool)| {
        let stored = stored.get(&(event.source.to_owned(), event.id));
        match (is_first, stored) {
            (true, _) => Seen::First,
            (false, Some(Some(known))) if *known != event.fingerprint => Seen::Conflict,
            // A row without a fingerprint is older than fingerprints are.
            (false, _) => Seen::Again,
        }
    };
    Ok(events.iter().zip(is_first).map(seen).collect())
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    source: String,
    #[diesel(sql_type = SqlUuid)]
    event_id: Uuid,
    #[diesel(sql_type = Nullable<Binary>)]
    fingerprint: Option<Vec<u8>>,
}

/// The fingerprints that the inbox has of `events`.
async fn stored(
    conn: &mut AsyncPgConnection,
    consumer: &str,
    events: &[EventIdentity<'_>],
) -> diesel::QueryResult<HashMap<(String, Uuid), Option<Vec<u8>>>> {
    let rows: Vec<Row> = statement(
        "select source, event_id, fingerprint from inbox \
         where consumer = $1 and (source, event_id) in (select * from unnest($2, $3))",
    )
    .bind::<Text, _>(consumer)
    .column::<Text, _, _>(events, |event| event.source)
    .column::<SqlUuid, _, _>(events, |event| event.id)
    .load(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| ((row.source, row.event_id), row.fingerprint))
        .collect())
}
