//! The rows of the outbox, as every mode reads and deletes them.

use std::pin::pin;

use diesel::prelude::*;
use diesel_async::methods::LoadQuery;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use futures_util::TryStreamExt as _;
use outbox::schema::outbox as table;

use crate::event::Event;
use crate::session::{SessionError, with_timeout};

/// Reads the events of `select`, up to the first that makes them more than `bytes_max` by
/// [`Event::bytes`]; returns whether it was cut off there.
pub(crate) async fn read<'query>(
    conn: &mut AsyncPgConnection,
    select: impl LoadQuery<'query, AsyncPgConnection, Event> + 'query,
    bytes_max: usize,
) -> Result<(Vec<Event>, bool), SessionError> {
    with_timeout("reading the outbox", async {
        let mut rows = pin!(select.load_stream(conn).await?);
        let mut events = Vec::new();
        let mut bytes = 0;
        while let Some(event) = rows.try_next().await? {
            bytes += event.bytes();
            events.push(event);
            if bytes > bytes_max {
                return Ok((events, true));
            }
        }
        Ok((events, false))
    })
    .await
}

pub(crate) async fn first(
    conn: &mut AsyncPgConnection,
    rows_max: i64,
) -> Result<Vec<i64>, SessionError> {
    let first = table::table.order(table::seq).select(table::seq);
    let first = first.limit(rows_max).load(conn);
    with_timeout("looking at the outbox", first).await
}

/// Deletes the rows with these numbers; returns how many were there.
pub(crate) async fn delete(
    conn: &mut AsyncPgConnection,
    seqs: &[i64],
) -> Result<usize, SessionError> {
    if seqs.is_empty() {
        return Ok(0);
    }
    let rows = table::table.filter(table::seq.eq_any(seqs.iter().copied()));
    let deleted = diesel::delete(rows).execute(conn);
    with_timeout("deleting what was published", deleted).await
}
