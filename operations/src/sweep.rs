//! Deleting what is too old to be asked for again, in bounded batches.
//!
//! Without an index on a time, which every event would pay for: the inbox is walked in the order of its
//! primary key. Event ids are UUIDs of version 7, so a source's old ones come first, and the walk goes on to
//! the next source or consumer at the first batch that has nothing old. Ids of another kind could end it too early.

use diesel::QueryableByName;
use diesel::result::QueryResult;
use diesel::sql_types::{BigInt, Bool, Nullable, Text, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use uuid::Uuid;

use outbox::statement;

/// What a batch did, and where the next one begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swept<C> {
    /// Rows that were deleted.
    pub deleted: i64,
    /// The last row that was looked at; none when the walk is over.
    pub next: Option<C>,
}

/// A row of the inbox, in the order of its primary key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InboxPlace {
    /// The consumer that took the event.
    pub consumer: String,
    pub source: String,
    pub event_id: Uuid,
}

/// Deletes rows of the inbox seen more than `retention_h` hours ago, among the next `rows_max` after `after`.
pub async fn sweep_inbox(
    conn: &mut AsyncPgConnection,
    after: Option<InboxPlace>,
    retention_h: i64,
    rows_max: i64,
) -> QueryResult<Swept<InboxPlace>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        deleted: i64,
        #[diesel(sql_type = Nullable<Text>)]
        consumer: Option<String>,
        #[diesel(sql_type = Nullable<Text>)]
        source: Option<String>,
        #[diesel(sql_type = Nullable<SqlUuid>)]
        event_id: Option<Uuid>,
        #[diesel(sql_type = Bool)]
        any_old: bool,
    }
    let after = after.unwrap_or_default();
    let row: Row = statement(
        "with batch as materialized ( \
             select consumer, source, event_id, seen_at < now() - $1 * interval '1 hour' as old \
             from inbox where (consumer, source, event_id) > ($2, $3, $4) \
             order by consumer, source, event_id limit $5), \
         gone as ( \
             delete from inbox using batch where batch.old and inbox.consumer = batch.consumer \
             and inbox.source = batch.source and inbox.event_id = batch.event_id returning 1), \
         last as ( \
             select * from batch order by consumer desc, source desc, event_id desc limit 1) \
         select (select count(*) from gone) as deleted, (select consumer from last) as consumer, \
             (select source from last) as source, (select event_id from last) as event_id, \
             coalesce((select bool_or(old) from batch), false) as any_old",
    )
    .bind::<BigInt, _>(retention_h)
    .bind::<Text, _>(after.consumer)
    .bind::<Text, _>(after.source)
    .bind::<SqlUuid, _>(after.event_id)
    .bind::<BigInt, _>(rows_max)
    .get_result(conn)
    .await?;
    let last = row.consumer.zip(row.source).zip(row.event_id);
    let next = last.map(|((consumer, source), event_id)| InboxPlace {
        consumer,
        source,
        event_id: if row.any_old { event_id } else { Uuid::max() },
    });
    Ok(Swept {
        deleted: row.deleted,
        next,
    })
}

/// Deletes up to `rows_max` dead letters that were taken or discarded more than `retention_h` hours ago.
///
/// Those that are open stay, however old they are: each is a message about money that nobody has decided on.
pub async fn sweep_dead_letters(
    conn: &mut AsyncPgConnection,
    retention_h: i64,
    rows_max: i64,
) -> QueryResult<Swept<()>> {
    let deleted = statement(
        "delete from dead_letters where id in ( \
             select id from dead_letters where ended_at < now() - $1 * interval '1 hour' limit $2)",
    )
    .bind::<BigInt, _>(retention_h)
    .bind::<BigInt, _>(rows_max)
    .execute(conn)
    .await?;
    let deleted = i64::try_from(deleted).unwrap_or(i64::MAX);
    Ok(Swept {
        deleted,
        next: (deleted >= rows_max).then_some(()),
    })
}
