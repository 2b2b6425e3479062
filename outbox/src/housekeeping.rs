//! Deleting what is too old to be asked for again, in bounded batches.
//!
//! Without an index on a time, which every event would pay for: the inbox is walked in the order of its
//! primary key. Event ids are UUIDs of version 7, so a consumer's old ones come first, and the walk goes on to
//! the next consumer at the first batch that has nothing old. Ids of another kind could end it too early.

use diesel::QueryableByName;
use diesel::result::QueryResult;
use diesel::sql_types::{BigInt, Bool, Nullable, Text, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use uuid::Uuid;

use crate::statement;

/// What a batch did, and where the next one begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swept<C> {
    /// Rows that were deleted.
    pub deleted: i64,
    /// The last row that was looked at; none when the walk is over.
    pub next: Option<C>,
}

/// Deletes rows of the inbox seen more than `retention_h` hours ago, among the next `rows_max` behind `after`.
///
/// # Errors
/// Whatever the database says.
pub async fn sweep_inbox(
    conn: &mut AsyncPgConnection,
    after: Option<(String, Uuid)>,
    retention_h: i64,
    rows_max: i64,
) -> QueryResult<Swept<(String, Uuid)>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        deleted: i64,
        #[diesel(sql_type = Nullable<Text>)]
        consumer: Option<String>,
        #[diesel(sql_type = Nullable<SqlUuid>)]
        event_id: Option<Uuid>,
        #[diesel(sql_type = Bool)]
        any_old: bool,
    }
    let (consumer, event_id) = after.unwrap_or_default();
    let row: Row = statement(
        "with batch as materialized ( \
             select consumer, event_id, seen_at < now() - $1 * interval '1 hour' as old \
             from inbox where (consumer, event_id) > ($2, $3) \
             order by consumer, event_id limit $4), \
         gone as ( \
             delete from inbox using batch where batch.old \
             and inbox.consumer = batch.consumer and inbox.event_id = batch.event_id returning 1), \
         last as (select consumer, event_id from batch order by consumer desc, event_id desc limit 1) \
         select (select count(*) from gone) as deleted, \
             (select consumer from last) as consumer, (select event_id from last) as event_id, \
             coalesce((select bool_or(old) from batch), false) as any_old",
    )
    .bind::<BigInt, _>(retention_h)
    .bind::<Text, _>(consumer)
    .bind::<SqlUuid, _>(event_id)
    .bind::<BigInt, _>(rows_max)
    .get_result(conn)
    .await?;
    let last = row.consumer.zip(row.event_id);
    let next = last.map(|(consumer, event_id)| {
        let behind = if row.any_old { event_id } else { Uuid::max() };
        (consumer, behind)
    });
    Ok(Swept {
        deleted: row.deleted,
        next,
    })
}

/// Deletes up to `rows_max` dead letters that were taken or discarded more than `retention_h` hours ago.
///
/// Those that are open stay, however old they are: each is a message about money that nobody has decided on.
///
/// # Errors
/// Whatever the database says.
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
