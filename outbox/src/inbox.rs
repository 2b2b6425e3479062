//! Taking each event once.

use std::collections::HashSet;

use diesel::QueryableByName;
use diesel::sql_types::{Array, Text, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use uuid::Uuid;

use crate::statement;

/// Whether a consumer has met an event before.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Never: act on it, in this transaction.
    First,
    /// A redelivery: its effect has been committed, or comes earlier in this batch.
    Again,
}

/// Takes `event_ids` for `consumer` and answers for each, in order, whether this is the first time.
///
/// Call it in the transaction of the events' effect: the two commit together or not at all. A
/// concurrent transaction that takes the same event waits for this one to end.
///
/// # Errors
/// Whatever the database says.
pub async fn take(
    conn: &mut AsyncPgConnection,
    consumer: &str,
    event_ids: &[Uuid],
) -> diesel::QueryResult<Vec<Seen>> {
    #[derive(QueryableByName)]
    struct Taken {
        #[diesel(sql_type = SqlUuid)]
        event_id: Uuid,
    }
    let taken: Vec<Taken> = statement(
        "insert into inbox (consumer, event_id) \
         select $1, event_id from unnest($2) as event (event_id) \
         order by event_id \
         on conflict do nothing returning event_id",
    )
    .bind::<Text, _>(consumer)
    .bind::<Array<SqlUuid>, _>(event_ids)
    .load(conn)
    .await?;
    let mut first: HashSet<Uuid> = taken.into_iter().map(|row| row.event_id).collect();
    // Removed when answered: a second mention of the same id in the batch is a redelivery too.
    Ok(event_ids
        .iter()
        .map(|id| {
            if first.remove(id) {
                Seen::First
            } else {
                Seen::Again
            }
        })
        .collect())
}
