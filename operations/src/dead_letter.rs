//! Messages that no retry by itself can help: kept with their bytes, so that the partition can go on, until an
//! operator has them taken after all, or discards them.
//!
//! One that has ended stays for its retention: without its row, a redelivery would bring it back. How a
//! message is taken again is the service's; this is the table.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Double, Integer, Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use outbox::statement;

use crate::schema::dead_letters;

/// A message that could not be taken, and why.
#[derive(Debug, Clone, Insertable)]
#[diesel(table_name = dead_letters)]
pub struct NewDeadLetter {
    /// The consumer that could not take it.
    pub consumer: &'static str,
    pub topic: String,
    pub kafka_partition: i32,
    pub kafka_offset: i64,
    pub key: Option<Vec<u8>>,
    /// The message's headers: an array of `[name, value]`, which holds no NUL character.
    pub headers: serde_json::Value,
    pub payload: Option<Vec<u8>>,
    /// What is wrong with it, as a person would want to read it.
    pub reason: String,
    /// A hash of the message: its place alone does not tell it from a message of another topic of that name.
    pub digest: Vec<u8>,
}

impl NewDeadLetter {
    /// PostgreSQL's texts cannot hold a NUL character, and a reason may quote a message that holds one.
    fn storable(&self) -> Self {
        let mut letter = self.clone();
        letter.reason = without_nul(&letter.reason);
        letter
    }
}

fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Bytes of a payload that [`list`] shows; the table has all of them.
pub const LISTED_PAYLOAD_BYTES_MAX: i32 = 4_096;

/// What has become of a dead letter; the same words as in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Status {
    /// An operator decides.
    Open,
    /// A retry took it, as the consumer would have.
    Taken,
    Discarded,
}

/// Which dead letters are meant: all, if both texts are empty.
#[derive(Debug, Default, Clone, Copy)]
pub struct Filter<'a> {
    /// How the reason begins.
    pub reason: &'a str,
    /// What stands somewhere in the reason, the headers, the key or the payload.
    pub search: &'a str,
}

/// A dead letter as it is stored.
#[derive(Debug, Clone, QueryableByName)]
#[diesel(table_name = dead_letters)]
pub struct DeadLetter {
    pub id: i64,
    pub consumer: String,
    pub topic: String,
    pub kafka_partition: i32,
    pub kafka_offset: i64,
    pub key: Option<Vec<u8>>,
    pub headers: serde_json::Value,
    /// When it is one of many, only the first [`LISTED_PAYLOAD_BYTES_MAX`] bytes.
    pub payload: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Integer>)]
    pub payload_bytes: Option<i32>,
    pub reason: String,
    pub created_at: DateTime<Utc>,
    pub status: String,
    pub retries: i32,
    pub ended_at: Option<DateTime<Utc>>,
}

/// Records `letters`; one that is already there (a redelivery) is left as it is.
pub async fn record(conn: &mut AsyncPgConnection, letters: &[NewDeadLetter]) -> QueryResult<usize> {
    if letters.is_empty() {
        return Ok(0);
    }
    let storable: Vec<NewDeadLetter> = letters.iter().map(NewDeadLetter::storable).collect();
    diesel::insert_into(dead_letters::table)
        .values(storable)
        .on_conflict_do_nothing()
        .execute(conn)
        .await
}

/// The newest dead letters of a status that `filter` matches, at most `limit`, older than the one with id `before`.
pub async fn list(
    conn: &mut AsyncPgConnection,
    status: Status,
    filter: Filter<'_>,
    before: Option<i64>,
    limit: i64,
) -> QueryResult<Vec<DeadLetter>> {
    // A page of whole messages could be hundreds of megabytes.
    statement(
        "select id, consumer, topic, kafka_partition, kafka_offset, key, headers, \
         substring(payload from 1 for $1) as payload, octet_length(payload) as payload_bytes, \
         reason, created_at, status, retries, ended_at \
         from dead_letters where status = $2 and id < $3 and starts_with(reason, $4) \
             and position(convert_to($5, 'UTF8') in convert_to(reason || headers::text, 'UTF8') \
                 || coalesce(key, '') || coalesce(payload, '')) > 0 \
         order by id desc limit $6",
    )
    .bind::<Integer, _>(LISTED_PAYLOAD_BYTES_MAX)
    .bind::<Text, _>(status.into_str())
    .bind::<BigInt, _>(before.unwrap_or(i64::MAX))
    .bind::<Text, _>(without_nul(filter.reason))
    .bind::<Text, _>(without_nul(filter.search))
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await
}

/// One dead letter, whole.
pub async fn find(conn: &mut AsyncPgConnection, id: i64) -> QueryResult<Option<DeadLetter>> {
    statement(
        "select id, consumer, topic, kafka_partition, kafka_offset, key, headers, payload, \
         octet_length(payload) as payload_bytes, reason, created_at, status, retries, ended_at \
         from dead_letters where id = $1",
    )
    .bind::<BigInt, _>(id)
    .get_result(conn)
    .await
    .optional()
}

/// Finds one and locks its row until the transaction ends.
pub async fn lock(conn: &mut AsyncPgConnection, id: i64) -> QueryResult<Option<DeadLetter>> {
    statement("select from dead_letters where id = $1 for update")
        .bind::<BigInt, _>(id)
        .execute(conn)
        .await?;
    find(conn, id).await
}

/// The ids of open dead letters that `filter` matches, oldest first, greater than `after`.
pub async fn open_ids(
    conn: &mut AsyncPgConnection,
    filter: Filter<'_>,
    after: i64,
    limit: i64,
) -> QueryResult<Vec<i64>> {
    #[derive(QueryableByName)]
    #[diesel(table_name = dead_letters)]
    struct Id {
        id: i64,
    }
    let ids: Vec<Id> = statement(
        "select id from dead_letters where status = 'open' and id > $1 and starts_with(reason, $2) \
             and position(convert_to($3, 'UTF8') in convert_to(reason || headers::text, 'UTF8') \
                 || coalesce(key, '') || coalesce(payload, '')) > 0 \
         order by id limit $4",
    )
    .bind::<BigInt, _>(after)
    .bind::<Text, _>(without_nul(filter.reason))
    .bind::<Text, _>(without_nul(filter.search))
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await?;
    Ok(ids.into_iter().map(|row| row.id).collect())
}

/// Records that a retry took the message.
pub async fn take(conn: &mut AsyncPgConnection, id: i64) -> QueryResult<usize> {
    statement(
        "update dead_letters set status = 'taken', ended_at = now(), retries = retries + 1 \
         where id = $1 and status = 'open'",
    )
    .bind::<BigInt, _>(id)
    .execute(conn)
    .await
}

/// Records that the message was given up.
pub async fn discard(conn: &mut AsyncPgConnection, id: i64) -> QueryResult<usize> {
    statement(
        "update dead_letters set status = 'discarded', ended_at = now() \
         where id = $1 and status = 'open'",
    )
    .bind::<BigInt, _>(id)
    .execute(conn)
    .await
}

/// Records that a retry did not take the message: it stays, with the new reason.
pub async fn refuse_again(
    conn: &mut AsyncPgConnection,
    id: i64,
    reason: &str,
) -> QueryResult<usize> {
    statement("update dead_letters set reason = $1, retries = retries + 1 where id = $2 and status = 'open'")
        .bind::<Text, _>(without_nul(reason))
        .bind::<BigInt, _>(id)
        .execute(conn)
        .await
}

/// The number of open letters, and the age of the oldest in seconds (0 without any).
#[derive(Debug, Clone, Copy, QueryableByName)]
pub struct OpenLetters {
    #[diesel(sql_type = Double)]
    pub letters: f64,
    #[diesel(sql_type = Double)]
    pub oldest_s: f64,
}

/// Counts those that are open.
pub async fn open(conn: &mut AsyncPgConnection) -> QueryResult<OpenLetters> {
    statement(
        "select count(*)::float8 as letters, \
         coalesce(greatest(extract(epoch from now() - min(created_at)), 0), 0)::float8 as oldest_s \
         from dead_letters where status = 'open'",
    )
    .get_result(conn)
    .await
}
