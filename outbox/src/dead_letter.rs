//! Messages that no retry can help: kept with their bytes, so that the partition can go on.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use crate::schema::dead_letters;
use crate::statement;

/// A message that could not be taken, and why.
#[derive(Debug, Clone, Insertable)]
#[diesel(table_name = dead_letters)]
pub struct NewDeadLetter {
    /// The consumer that could not take it.
    pub consumer: &'static str,
    /// Where it was read.
    pub topic: String,
    /// Where it was read.
    pub kafka_partition: i32,
    /// Where it was read.
    pub kafka_offset: i64,
    /// The message's key, as it was.
    pub key: Option<Vec<u8>>,
    /// The message's headers: an array of `[name, value]`, lossily as text.
    pub headers: serde_json::Value,
    /// The message's payload, as it was.
    pub payload: Option<Vec<u8>>,
    /// What is wrong with it, as a person would want to read it.
    pub reason: String,
}

impl NewDeadLetter {
    /// PostgreSQL's texts cannot hold a NUL character, and a message that nobody understands can hold
    /// anything. The bytes of the key and the payload stay as they are.
    fn storable(&self) -> Self {
        let mut letter = self.clone();
        letter.reason = without_nul(&letter.reason);
        let headers = letter.headers.as_array_mut().into_iter().flatten();
        for text in headers
            .filter_map(serde_json::Value::as_array_mut)
            .flatten()
        {
            if let serde_json::Value::String(text) = text {
                *text = without_nul(text);
            }
        }
        letter
    }
}

fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Bytes of a payload that [`list`] shows; the table has all of them.
pub const LISTED_PAYLOAD_BYTES_MAX: i32 = 4_096;

/// A dead letter as listed.
#[derive(Debug, Clone, QueryableByName)]
#[diesel(table_name = dead_letters)]
#[expect(
    missing_docs,
    reason = "the fields are those of NewDeadLetter, and the row's own"
)]
pub struct DeadLetter {
    pub id: i64,
    pub consumer: String,
    pub topic: String,
    pub kafka_partition: i32,
    pub kafka_offset: i64,
    pub key: Option<Vec<u8>>,
    pub headers: serde_json::Value,
    /// The first [`LISTED_PAYLOAD_BYTES_MAX`] bytes.
    pub payload: Option<Vec<u8>>,
    pub reason: String,
    pub created_at: DateTime<Utc>,
}

/// Records `letters`; one that is already there (a redelivery) is left as it is.
///
/// # Errors
/// Whatever the database says.
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

/// The newest dead letters, at most `limit`, older than the one with id `before`.
///
/// # Errors
/// Whatever the database says.
pub async fn list(
    conn: &mut AsyncPgConnection,
    before: Option<i64>,
    limit: i64,
) -> QueryResult<Vec<DeadLetter>> {
    // A page of whole messages could be hundreds of megabytes.
    statement(
        "select id, consumer, topic, kafka_partition, kafka_offset, key, headers, \
         substring(payload from 1 for $1) as payload, reason, created_at \
         from dead_letters where id < $2 order by id desc limit $3",
    )
    .bind::<Integer, _>(LISTED_PAYLOAD_BYTES_MAX)
    .bind::<BigInt, _>(before.unwrap_or(i64::MAX))
    .bind::<BigInt, _>(limit)
    .load(conn)
    .await
}
