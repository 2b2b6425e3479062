//! A backlog in the outbox, and how fast PostgreSQL alone can read and delete it: the limits of a relay.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use diesel_async::{RunQueryDsl as _, SimpleAsyncConnection as _};
use futures_util::future::try_join_all;
use lab_stack::postgres;
use lab_stack::program::{LogFile, command, run_to_end};

use crate::database::{self, Database, Session};

/// How long it may take until a relay works, and until a backlog is gone.
pub(crate) const WITHIN: Duration = Duration::from_secs(600);

pub(super) const KEYS: u32 = 10_000;

/// Connections that fill; each has keys of its own.
const WRITERS: u32 = 2;

/// Rows of one delete.
const DELETE_ROWS: u32 = 1_000;

/// The slot and the publication of `pg_recvlogical`.
const LIMIT: &str = "bench_limit";

const FILL: &str = "
create procedure fill(first int, step int, last int, keys int, commits_each bool) language plpgsql as $$
declare
    wallet text;
begin
    for number in first..last by step loop
        wallet := '00000000-0000-7000-8000-' || lpad((number % keys)::text, 12, '0');
        insert into outbox (id, aggregatetype, aggregateid, type, source, traceparent, payload) values (
            gen_random_uuid(), 'wallet', wallet, 'BillPaymentRequested', 'wallet-api',
            '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
            jsonb_build_object('payment_id', gen_random_uuid(), 'wallet_id', wallet, 'amount', '499.00',
                'currency', 'INR', 'provider', 'wifi', 'account_number', 'WIFI-42'));
        if commits_each then
            commit;
        end if;
    end loop;
end $$";

/// Events that are appended to the outbox before a relay may carry them.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Backlog {
    /// So many, one a transaction.
    Transactions(u32),
    /// So many in one transaction.
    OneTransaction(u32),
}

impl Backlog {
    pub(crate) const fn rows(self) -> u32 {
        match self {
            Self::Transactions(rows) | Self::OneTransaction(rows) => rows,
        }
    }

    /// Appends them. The commits don't wait for the disk; when this returns, all of it is on disk.
    pub(crate) async fn append(self, url: &str) -> anyhow::Result<()> {
        let (writers, commits_each) = match self {
            Self::Transactions(_) => (WRITERS, true),
            Self::OneTransaction(_) => (1, false),
        };
        let rows = self.rows();
        let mut conn = database::connect(url).await?;
        conn.batch_execute(FILL).await?;
        let writing = (1..=writers).map(async |first| {
            let mut conn = database::connect(url).await?;
            conn.batch_execute("set synchronous_commit = off").await?;
            // Alone, since it commits.
            let call = format!("call fill({first}, {writers}, {rows}, {KEYS}, {commits_each})");
            conn.batch_execute(&call).await?;
            anyhow::Ok(())
        });
        try_join_all(writing).await.context("filling the outbox")?;
        // A commit that waits for the disk, after all others.
        conn.batch_execute("drop procedure fill").await?;
        Ok(())
    }

    /// Deletes all rows in one loop on one connection, as a relay that publishes nothing would; how long that took.
    pub(super) async fn delete(self, url: &str) -> anyhow::Result<Duration> {
        let mut conn = database::connect(url).await?;
        conn.batch_execute(&format!(
            "prepare take as delete from outbox \
             where seq in (select seq from outbox order by seq limit {DELETE_ROWS}) \
             returning seq, id, aggregatetype, aggregateid, type, source, specversion, contenttype, traceparent, tracestate, payload"
        ))
        .await?;
        let begun = Instant::now();
        let mut left = usize::try_from(self.rows())?;
        while left > 0 {
            let rows = diesel::sql_query("execute take").execute(&mut conn).await?;
            anyhow::ensure!(rows > 0, "{left} rows are missing");
            left = left.saturating_sub(rows);
        }
        Ok(begun.elapsed())
    }
}

/// Makes the slot that [`receive`] reads.
pub(super) async fn make_slot(database: &Database) -> anyhow::Result<()> {
    let mut conn = database::connect(&database.url).await?;
    let publication =
        format!("create publication {LIMIT} for table outbox with (publish = 'insert')");
    conn.batch_execute(&publication).await?;
    let name = slot(database);
    let slot = format!("select pg_create_logical_replication_slot('{name}', 'pgoutput')");
    conn.batch_execute(&slot).await?;
    Ok(())
}

fn slot(database: &Database) -> String {
    format!("{LIMIT}_{}", database.name)
}

/// Has `pg_recvlogical` read what was written since [`make_slot`], to nowhere; how long that took.
pub(super) async fn receive(folder: &Path, database: &Database) -> anyhow::Result<Duration> {
    let mut conn = database::connect(&database.url).await?;
    let end = "select pg_current_wal_insert_lsn()::text as text";
    let end = database::text(&mut conn, end).await?;
    let mut receive = command(postgres::clients()?.join("pg_recvlogical"), None);
    receive
        .arg(format!("--dbname={}", database.url))
        .arg(format!("--slot={}", slot(database)))
        .arg(format!("--endpos={end}"))
        .arg(format!("--option=publication_names={LIMIT}"))
        .args(["--start", "--no-loop", "--file=/dev/null"])
        .arg("--option=proto_version=1");
    let log = LogFile::new(folder.join("pg_recvlogical.log"));
    let begun = Instant::now();
    run_to_end("pg_recvlogical", receive, &log).await?;
    Ok(begun.elapsed())
}

pub(crate) async fn is_empty(conn: &mut Session) -> anyhow::Result<bool> {
    let rows = "select count(*) as number from outbox";
    Ok(database::number(conn, rows).await? == 0)
}
