//! What the writers of wallet-api wait for: their sessions in the database, looked at many times a second.

use std::time::Duration;

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Text};
use diesel_async::RunQueryDsl as _;

use crate::database;

const LOOK_EVERY: Duration = Duration::from_millis(10);

/// In the order of the table's columns. A session that is in a transaction and waits for no lock, disk or client works.
const STATES: [&str; 5] = [
    "PostgreSQL works",
    "wallet-api's next statement",
    "the log's flush",
    "another's row lock",
    "else",
];

const LOOK: &str = "\
    select case \
        when wait_event_type is null then 'PostgreSQL works' \
        when wait_event_type = 'Client' then 'wallet-api''s next statement' \
        when wait_event in ('WALSync', 'WALWrite') then 'the log''s flush' \
        when wait_event_type = 'Lock' then 'another''s row lock' \
        else 'else' end as state, count(*) as sessions \
    from pg_stat_activity \
    where datname = current_database() and application_name = 'wallet-api' and state <> 'idle' group by 1";

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    state: String,
    #[diesel(sql_type = BigInt)]
    sessions: i64,
}

/// How often a session was seen in each of [`STATES`].
#[derive(Debug, Default)]
pub(super) struct Waits {
    seen: [i64; STATES.len()],
}

impl Waits {
    pub(super) fn columns() -> Vec<&'static str> {
        std::iter::once("who").chain(STATES).collect()
    }

    /// The share of each state, in percent.
    pub(super) fn cells(&self) -> impl Iterator<Item = String> {
        let all: i64 = self.seen.iter().sum();
        let percent = move |seen: &i64| (seen * 100).checked_div(all).unwrap_or(0);
        self.seen
            .iter()
            .map(move |seen| format!("{} %", percent(seen)))
    }
}

/// Looks at the sessions of wallet-api in the database of `url` until `load` has ended.
pub(super) async fn during<T>(
    url: &str,
    load: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<Waits> {
    let mut conn = database::connect(url).await?;
    let mut waits = Waits::default();
    let mut looks = tokio::time::interval(LOOK_EVERY);
    let mut load = std::pin::pin!(load);
    loop {
        tokio::select! {
            ended = &mut load => return ended.map(|_| waits),
            _ = looks.tick() => {}
        }
        let rows: Vec<Row> = diesel::sql_query(LOOK).load(&mut conn).await?;
        for row in rows {
            let states = STATES.iter().zip(&mut waits.seen);
            let of_row = states.filter(|(state, _)| **state == row.state);
            of_row.for_each(|(_, seen)| *seen += row.sessions);
        }
    }
}
