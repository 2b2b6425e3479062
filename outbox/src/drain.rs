//! The read side: read the next events, publish them, delete them; park an event that can't be published.
//!
//! | step | statement | lock | why in this order |
//! | --- | --- | --- | --- |
//! | 1 | [`next`] or [`next_of_shards`] | none | no cursor: a smaller `seq` can commit later, so the first rows are read each time |
//! | 2 | publish, and await each acknowledgement | none, no transaction is open | the broker may take its time |
//! | 3 | [`delete`] what was acknowledged | the rows | a crash before it publishes the events again, with the same ids |
//! | 4 | [`park`] what the broker refuses for good | the key's row in `parked_events` | the key is left out of step 1 from now on, so its order stays |
//!
//! Leaves to the caller: that no two programs drain the same shards at once, and publishing a key's events in order.

use std::collections::HashSet;
use std::pin::pin;

use diesel::QueryableByName;
use diesel::result::QueryResult;
use diesel::sql_types::{Array, BigInt, Integer, Text};
use diesel_async::methods::LoadQuery;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use futures_util::TryStreamExt as _;

use crate::event::Event;
use crate::statement;

/// Events in the order in which they are to be published.
#[must_use]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The events.
    pub events: Vec<Event>,
    /// Whether reading stopped at the limit of bytes.
    pub is_cut_off: bool,
}

/// The next events of the shards `$1`, at most `$3` of each, without those of the keys `$2` and of keys that are parked.
///
/// The condition is a range of the index, and not `shard = $1 order by seq`: while one shard has all the rows, PostgreSQL
/// would rather read the whole table by its primary key, once for each shard. `not in` reads its list once and costs
/// nothing while the list is empty: an anti join, planned then, is slow when it is not.
pub const NEXT_OF_SHARDS: &str = "select next.* from unnest($1) as held (shard) \
     cross join lateral ( \
         select seq, id, aggregatetype, aggregateid, type, source, specversion, contenttype, \
             traceparent, tracestate, payload::text as payload \
         from outbox \
         where (outbox.shard, seq) >= (held.shard, 0) and (outbox.shard, seq) < (held.shard + 1, 0) \
             and aggregateid not in ( \
                 select aggregateid from parked_events where replay_requested_at is null) \
             and aggregateid not in (select unnest($2)) \
         order by outbox.shard, seq limit $3 \
     ) as next";

/// Reads the next events of `shards` (0 to 63), at most `rows_per_shard_max` of each and about `bytes_max` bytes, without
/// those of the keys `skipped`: for several programs that share an outbox.
///
/// # Errors
/// The database fails.
pub async fn next_of_shards(
    conn: &mut AsyncPgConnection,
    shards: &[i32],
    skipped: &[String],
    rows_per_shard_max: i64,
    bytes_max: usize,
) -> QueryResult<Page> {
    let select = statement(NEXT_OF_SHARDS)
        .bind::<Array<Integer>, _>(shards.to_vec())
        .bind::<Array<Text>, _>(skipped.to_vec())
        .bind::<BigInt, _>(rows_per_shard_max);
    let mut page = read(conn, select, bytes_max).await?;
    page.events.sort_unstable_by_key(|event| event.seq);
    Ok(page)
}

/// Reads the first events of the whole table, at most `rows_max` and about `bytes_max` bytes, without those of the keys
/// `skipped`: for one program that has the outbox to itself.
///
/// # Errors
/// The database fails.
pub async fn next(
    conn: &mut AsyncPgConnection,
    skipped: &[String],
    rows_max: i64,
    bytes_max: usize,
) -> QueryResult<Page> {
    let select = statement(
        "select seq, id, aggregatetype, aggregateid, type, source, specversion, contenttype, \
             traceparent, tracestate, payload::text as payload \
         from outbox where aggregateid not in (select unnest($1)) and aggregateid not in ( \
             select aggregateid from parked_events where replay_requested_at is null) \
         order by seq limit $2",
    )
    .bind::<Array<Text>, _>(skipped.to_vec())
    .bind::<BigInt, _>(rows_max);
    read(conn, select, bytes_max).await
}

/// Reads row by row, so that large events do not fill the memory.
async fn read<'query>(
    conn: &mut AsyncPgConnection,
    select: impl LoadQuery<'query, AsyncPgConnection, Event> + 'query,
    bytes_max: usize,
) -> QueryResult<Page> {
    let mut rows = pin!(select.load_stream(conn).await?);
    let mut page = Page::default();
    let mut bytes = 0;
    while let Some(event) = rows.try_next().await? {
        bytes += event.bytes();
        page.events.push(event);
        if bytes > bytes_max {
            page.is_cut_off = true;
            break;
        }
    }
    Ok(page)
}

/// Deletes the rows with the numbers `$1`.
///
/// An outbox is mostly empty, and is analysed while it is. PostgreSQL then believes that it has one row, and would look up
/// each number by reading all of `outbox_next_of_shard`. In the order of `seq` it can only read the primary key, as long as
/// it does not sort: so the session should have `enable_sort` off.
pub const DELETE: &str = "delete from outbox where ctid = any(array( \
         select ctid from outbox where seq = any($1) order by seq))";

/// Deletes the rows with the numbers `seqs` and returns how many there were. In a session without `enable_sort = off` it can
/// be very slow after a time in which the table was empty ([`DELETE`]).
///
/// # Errors
/// The database fails.
pub async fn delete(conn: &mut AsyncPgConnection, seqs: &[i64]) -> QueryResult<usize> {
    if seqs.is_empty() {
        return Ok(0);
    }
    let delete = statement(DELETE).bind::<Array<BigInt>, _>(seqs.to_vec());
    delete.execute(conn).await
}

/// Parks the rows with the numbers `$1`, for the reasons `$2`, while fewer than `$3` keys are parked. In the order of
/// `seq`, for the reason that [`DELETE`] has.
pub const PARK: &str = "insert into parked_events (aggregateid, seq, reason) \
     select aggregateid, seq, reasons[array_position(seqs, seq)] \
     from (select $1 as seqs, $2 as reasons) as refused, outbox \
     where seq = any(seqs) and ((select count(*) from parked_events) < $3 \
         or aggregateid in (select known.aggregateid from parked_events as known)) \
     order by seq \
     on conflict (aggregateid) do update set \
         tries = case when parked_events.seq = excluded.seq then parked_events.tries + 1 else 1 end, \
         parked_at = case when parked_events.seq = excluded.seq then parked_events.parked_at else now() end, \
         seq = excluded.seq, reason = excluded.reason, replay_requested_at = null \
     returning seq";

/// Parks the events with these numbers, for these reasons, and returns the numbers of those that are parked now.
///
/// An event is not parked if its row is gone, or if `keys_max` keys are parked already (about: a batch may go beyond). An
/// event that was parked before keeps its time and has one try more.
///
/// # Errors
/// The database fails; nothing is parked then.
pub async fn park(
    conn: &mut AsyncPgConnection,
    refused: &[(i64, &str)],
    keys_max: i64,
) -> QueryResult<HashSet<i64>> {
    #[derive(QueryableByName)]
    struct Seq {
        #[diesel(sql_type = BigInt)]
        seq: i64,
    }
    if refused.is_empty() {
        return Ok(HashSet::new());
    }
    let parked: Vec<Seq> = statement(PARK)
        .column::<BigInt, _, _>(refused, |(seq, _)| *seq)
        .column::<Text, _, _>(refused, |(_, reason)| *reason)
        .bind::<BigInt, _>(keys_max)
        .load(conn)
        .await?;
    Ok(parked.into_iter().map(|row| row.seq).collect())
}
