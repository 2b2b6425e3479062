//! Databases of the benchmarks: each measurement works on a fresh copy of one that was prepared once.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use lab_stack::url;

pub(super) type Session = AsyncPgConnection;

/// How long sessions that are ending may take.
const SESSIONS_END_WITHIN: Duration = Duration::from_secs(30);

/// The databases of this process on a server.
#[derive(Debug)]
pub(super) struct Databases {
    server: String,
    made: u32,
}

#[derive(Debug, Clone)]
pub(super) struct Database {
    pub name: String,
    pub url: String,
}

impl Databases {
    /// None yet.
    pub(super) fn new(server: &str) -> Self {
        Self {
            server: server.to_owned(),
            made: 0,
        }
    }

    /// The next name, of no database yet.
    pub(super) fn next(&mut self) -> anyhow::Result<Database> {
        self.made += 1;
        let name = format!("{}_{}", prefix(), self.made);
        let url = url::database_url(&self.server, &name)?;
        Ok(Database { name, url })
    }

    /// Makes a copy. Nothing of it is in the server's memory, and a checkpoint was made.
    pub(super) async fn copy(&mut self, template: &Database) -> anyhow::Result<Database> {
        let copy = self.next()?;
        let mut conn = connect(&self.server).await?;
        let (name, template) = (&copy.name, &template.name);
        let sessions =
            format!("select count(*) as number from pg_stat_activity where datname = '{template}'");
        wait_until(
            "nobody uses the template",
            SESSIONS_END_WITHIN,
            async || Ok(number(&mut conn, &sessions).await? == 0),
        )
        .await?;
        conn.batch_execute(&format!(
            "create database {name} template {template} strategy file_copy"
        ))
        .await
        .context("copying the template")?;
        conn.batch_execute("checkpoint").await?;
        Ok(copy)
    }

    /// Drops a database, with its replication slots.
    pub(super) async fn drop(&self, database: Database) -> anyhow::Result<()> {
        drop_database(&self.server, &database.name).await
    }
}

/// What the names of this process's databases begin with.
fn prefix() -> String {
    format!("bench_{}", std::process::id())
}

/// Drops all databases of this process that are left on `server`, with their replication slots.
pub(super) async fn drop_all(server: &str) -> anyhow::Result<()> {
    let mut conn = connect(server).await?;
    let names = format!(
        "select coalesce(string_agg(datname, ' '), '') as text from pg_database \
         where datname ~ '^{}_[0-9]+$'",
        prefix()
    );
    for name in text(&mut conn, &names).await?.split_whitespace() {
        drop_database(server, name).await?;
    }
    Ok(())
}

async fn drop_database(server: &str, name: &str) -> anyhow::Result<()> {
    let mut conn = connect(server).await?;
    // A slot is in use until the server has noticed that its client has gone.
    let drop_slots = format!(
        "select pg_terminate_backend(active_pid) from pg_replication_slots \
         where database = '{name}' and active; \
         select pg_drop_replication_slot(slot_name) from pg_replication_slots \
         where database = '{name}' and not active"
    );
    let slots =
        format!("select count(*) as number from pg_replication_slots where database = '{name}'");
    wait_until("its slots are dropped", SESSIONS_END_WITHIN, async || {
        // Fails where a slot has just been taken into use: then the next look drops it.
        drop(conn.batch_execute(&drop_slots).await);
        Ok(number(&mut conn, &slots).await? == 0)
    })
    .await?;
    conn.batch_execute(&format!("drop database if exists {name} with (force)"))
        .await
        .with_context(|| format!("dropping the database {name}"))
}

pub(super) async fn connect(url: &str) -> anyhow::Result<Session> {
    let mut conn = chassis::database::connect(url, "lab-bench")
        .await
        .context("connecting to the database")?;
    conn.batch_execute("set statement_timeout = 0").await?;
    Ok(conn)
}

/// The number that `sql` selects as `number`.
pub(super) async fn number(conn: &mut Session, sql: &str) -> anyhow::Result<i64> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        number: i64,
    }
    let row: Row = diesel::sql_query(sql).get_result(conn).await?;
    Ok(row.number)
}

/// The text that `sql` selects as `text`.
pub(super) async fn text(conn: &mut Session, sql: &str) -> anyhow::Result<String> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        text: String,
    }
    let row: Row = diesel::sql_query(sql).get_result(conn).await?;
    Ok(row.text)
}

/// Looks until `is_so`.
pub(super) async fn wait_until(
    what: &str,
    time: Duration,
    mut is_so: impl AsyncFnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<Instant> {
    let begun = Instant::now();
    while !is_so().await? {
        anyhow::ensure!(begun.elapsed() < time, "not so within {time:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(Instant::now())
}
