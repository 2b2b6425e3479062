//! Parked events: Kafka refuses them, or their topic has failed for long. They wait for a person, and those of their
//! key with them.
//!
//! The event stays in `outbox`, where a row is an event not yet known to be published. Its row in
//! `parked_events` says that the key is blocked, for every relay and every mode, and why.
//!
//! | who | does | and then |
//! | --- | --- | --- |
//! | the relay | [`park`]s the event that was refused | nobody reads the key's events |
//! | an operator | [`request_replay`] | the relay reads them again, in order; refused again is parked again |
//! | an operator | deletes the event from `outbox`, to give it up | [`tidy`] removes its parking, and the relay continues after it |

use std::collections::HashSet;

use diesel::QueryableByName;
use diesel::result::QueryResult;
use diesel::sql_types::{BigInt, Integer, Nullable, Text, Uuid as SqlUuid};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl as _};
use outbox::{drain, statement};
use serde::Serialize;
use tracing::{error, warn};
use uuid::Uuid;

use crate::publisher::Refusal;

/// Keys that are blocked at most, about: a batch may exceed it. When more are refused, something is
/// wrong with a topic rather than with the events: they are retried, with back-off.
pub const PARKED_KEYS_MAX: i64 = 10_000;

/// Events that are logged when many are parked together: those of a topic that is missing.
const LOGGED_MAX: usize = 10;

/// Characters of a payload that are shown; the outbox has all of them.
pub(crate) const SHOWN_PAYLOAD_CHARS_MAX: i32 = 4_096;

/// Parks the refused events; returns the `seq` of each that is parked now. The others are gone from the outbox, or
/// there is no room. An event that was parked before keeps its place and has one more try.
pub(crate) async fn park(
    conn: &mut AsyncPgConnection,
    refused: &[Refusal<'_>],
) -> QueryResult<HashSet<i64>> {
    let refusals: Vec<(i64, &str)> = refused
        .iter()
        .map(|refusal| (refusal.event.seq, &*refusal.reason))
        .collect();
    let parked = drain::park(conn, &refusals, PARKED_KEYS_MAX).await?;
    log_parked(refused, &parked);
    Ok(parked)
}

fn log_parked(refused: &[Refusal<'_>], parked: &HashSet<i64>) {
    for Refusal { event, reason } in refused
        .iter()
        .filter(|refusal| parked.contains(&refusal.event.seq))
        .take(LOGGED_MAX)
    {
        error!(
            seq = event.seq,
            event_id = %event.id,
            trace_id = event.trace_id(),
            key = event.key(),
            bytes = event.payload.len(),
            "Kafka does not take an event; it is parked, and the later ones of its key wait for it: {reason}. \
             See \"relay parked list\"; if it is too large, raise MESSAGE_BYTES_MAX and the topic's \
             max.message.bytes; if its topic is missing or may not be written, mend the topic; then \
             \"relay parked replay KEY\""
        );
    }
    if parked.len() > LOGGED_MAX {
        error!("and {} more are parked", parked.len() - LOGGED_MAX);
    }
    if parked.len() < refused.len() {
        let count = refused.len() - parked.len();
        let reason = refused
            .iter()
            .find(|refusal| !parked.contains(&refusal.event.seq))
            .map_or("", |refusal| &refusal.reason);
        warn!(
            "{count} events that Kafka refuses are not parked: they are gone, or about {PARKED_KEYS_MAX} keys \
             are blocked already; the first: {reason}"
        );
    }
}

/// Removes the parkings of events that are gone: published after a replay, or given up.
///
/// Not an anti join: that one may read all of the outbox. In the order of `seq`, for the reason that [`drain::DELETE`] has.
pub const TIDY: &str = "delete from parked_events where seq <> all(array( \
         select seq from outbox where seq = any(array(select seq from parked_events)) order by seq))";

pub(crate) async fn tidy(conn: &mut AsyncPgConnection) -> QueryResult<usize> {
    statement(TIDY).execute(conn).await
}

pub(crate) async fn keys(conn: &mut AsyncPgConnection) -> QueryResult<HashSet<String>> {
    #[derive(QueryableByName)]
    struct Key {
        #[diesel(sql_type = Text)]
        aggregateid: String,
    }
    let keys: Vec<Key> =
        statement("select aggregateid from parked_events where replay_requested_at is null")
            .load(conn)
            .await?;
    Ok(keys.into_iter().map(|key| key.aggregateid).collect())
}

/// A parked event, for the operator.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName, Serialize)]
pub(crate) struct ParkedEvent {
    #[diesel(sql_type = Text)]
    pub(crate) key: String,
    #[diesel(sql_type = BigInt)]
    pub(crate) seq: i64,
    #[diesel(sql_type = SqlUuid)]
    pub(crate) event_id: Uuid,
    #[diesel(sql_type = Text)]
    pub(crate) event_type: String,
    #[diesel(sql_type = Text)]
    pub(crate) topic: String,
    #[diesel(sql_type = Text)]
    pub(crate) created_at: String,
    #[diesel(sql_type = Text)]
    pub(crate) parked_at: String,
    #[diesel(sql_type = Nullable<Text>)]
    pub(crate) replay_requested_at: Option<String>,
    #[diesel(sql_type = Integer)]
    pub(crate) tries: i32,
    #[diesel(sql_type = Text)]
    pub(crate) reason: String,
    #[diesel(sql_type = BigInt)]
    pub(crate) waiting: i64,
    #[diesel(sql_type = Integer)]
    pub(crate) payload_bytes: i32,
    #[diesel(sql_type = Text)]
    pub(crate) source: String,
    #[diesel(sql_type = Text)]
    pub(crate) specversion: String,
    #[diesel(sql_type = Text)]
    pub(crate) contenttype: String,
    #[diesel(sql_type = Text)]
    pub(crate) traceparent: String,
    #[diesel(sql_type = Text)]
    pub(crate) payload: String,
}

/// The parked events in `seq` order, at most `limit`, after the one with number `after`.
pub(crate) async fn list(
    conn: &mut AsyncPgConnection,
    after: i64,
    limit: i64,
) -> QueryResult<Vec<ParkedEvent>> {
    select(conn, after, None, limit).await
}

/// The parked event of the key `key_or_id`, or with that event id.
pub(crate) async fn find(
    conn: &mut AsyncPgConnection,
    key_or_id: &str,
) -> QueryResult<Option<ParkedEvent>> {
    let found = select(conn, i64::MIN, Some(key_or_id), 1).await?;
    Ok(found.into_iter().next())
}

async fn select(
    conn: &mut AsyncPgConnection,
    after: i64,
    key_or_id: Option<&str>,
    limit: i64,
) -> QueryResult<Vec<ParkedEvent>> {
    statement(
        "select parked.aggregateid as key, parked.seq, event.id as event_id, event.type as event_type, \
             event.aggregatetype || '.events' as topic, \
             to_char(event.created_at at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') as created_at, \
             to_char(parked_at at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') as parked_at, \
             to_char(replay_requested_at at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') \
                 as replay_requested_at, \
             tries, reason, \
             (select count(*) from outbox as behind where behind.shard = event.shard \
                 and behind.seq > event.seq and behind.aggregateid = event.aggregateid) as waiting, \
             octet_length(payload::text) as payload_bytes, \
             source, specversion, contenttype, traceparent, left(payload::text, $1) as payload \
         from parked_events as parked join outbox as event using (seq) \
         where parked.seq > $2 and ($3 is null or parked.aggregateid = $4 or event.id::text = $5) \
         order by parked.seq limit $6",
    )
    .bind::<Integer, _>(SHOWN_PAYLOAD_CHARS_MAX)
    .bind::<BigInt, _>(after)
    .bind::<Nullable<Text>, _>(key_or_id)
    .bind::<Nullable<Text>, _>(key_or_id)
    .bind::<Nullable<Text>, _>(key_or_id)
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await
}

/// Requests a replay of the parked event of `key`, or of all; returns of how many. The relay that is
/// running, or the next one, tries them within about a second.
pub(crate) async fn request_replay(
    conn: &mut AsyncPgConnection,
    key: Option<&str>,
) -> QueryResult<usize> {
    conn.transaction(async |conn| {
        // What `tidy` needs, and the session of a command line does not have.
        statement("set local enable_sort = off")
            .execute(conn)
            .await?;
        tidy(conn).await?;
        statement(
            "update parked_events set replay_requested_at = coalesce(replay_requested_at, now()) \
             where $1 is null or aggregateid = $2",
        )
        .bind::<Nullable<Text>, _>(key)
        .bind::<Nullable<Text>, _>(key)
        .execute(conn)
        .await
    })
    .await
}
