//! A PostgreSQL session of the audit's own: long statements, temporary tables, and rows that stream through.

use std::io::Cursor;
use std::pin::pin;
use std::time::Duration;

use anyhow::Context as _;
use chassis::database::{Open, Target};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_postgres::Client;
use tokio_postgres::types::FromSql;

use super::sources::{BILL_PAYER_DATABASE, Sources, WALLET_DATABASE};

const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// No limit of time: an audit of millions takes what it takes. Sorts and joins that do not fit `work_mem` go to
/// the server's disk.
const SETTINGS: &str = "set application_name = 'lab-audit'; set statement_timeout = 0; set jit = off; \
     set work_mem = '64MB'; set temp_buffers = '64MB'; set client_min_messages = warning; \
     set idle_in_transaction_session_timeout = '60s'";

/// Refuses poolers that would change the server under a session, which has temporary tables and settings of its own. To be
/// called once, by a command; a program that audits again and again knows its databases.
pub(crate) async fn refuse_poolers(sources: &Sources) -> anyhow::Result<()> {
    for (url, what) in [
        (&sources.wallet_database_url, WALLET_DATABASE),
        (&sources.bill_payer_database_url, BILL_PAYER_DATABASE),
    ] {
        let target = target(url, what)?;
        answered(target.refuse_transaction_pooling(), url, what).await?;
    }
    Ok(())
}

fn target(url: &str, what: &str) -> anyhow::Result<Target> {
    Target::parse(url, None)
        .with_context(|| format!("the URL of {what} is not one of PostgreSQL's"))
}

/// What the server returns, or why no server responded.
async fn answered<T, E>(
    asked: impl Future<Output = Result<T, E>>,
    url: &str,
    what: &str,
) -> anyhow::Result<T>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let answer = match tokio::time::timeout(CONNECT_WITHIN, asked).await {
        Ok(answer) => answer.map_err(anyhow::Error::new),
        Err(_) => Err(anyhow::anyhow!("no answer within {CONNECT_WITHIN:?}")),
    };
    answer.with_context(|| {
        let shown = lab_terminal::without_password(url).unwrap_or_default();
        format!(
            "PostgreSQL does not answer for {what} ({shown}); check that it runs and that the address is right"
        )
    })
}

/// A session; what it has made in the temporary schema goes with it, however it ends.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    /// Moves the bytes; ends with the session.
    _connection: JoinSet<()>,
}

impl Session {
    /// Connects; `what` is what the database is called in an error.
    pub(crate) async fn connect(url: &str, what: &str) -> anyhow::Result<Self> {
        let target = target(url, what)?;
        let Open {
            client, connection, ..
        } = answered(target.open(), url, what).await?;
        let mut tasks = JoinSet::new();
        // An error ends the statements that wait for it: they tell.
        tasks.spawn(async move { drop(connection.await) });
        let session = Self {
            client,
            _connection: tasks,
        };
        session.run(SETTINGS).await?;
        Ok(session)
    }

    /// Runs statements without parameters.
    pub(crate) async fn run(&self, sql: &str) -> anyhow::Result<()> {
        self.client
            .batch_execute(sql)
            .await
            .context("asking PostgreSQL")
    }

    /// Begins a transaction that sees one and the same moment throughout.
    pub(crate) async fn begin_snapshot(&self) -> anyhow::Result<()> {
        self.run("begin isolation level repeatable read").await
    }

    /// Ends the transaction.
    pub(crate) async fn commit(&self) -> anyhow::Result<()> {
        self.run("commit").await
    }

    /// The single value that `sql` selects.
    pub(crate) async fn one<T: for<'a> FromSql<'a>>(&self, sql: &str) -> anyhow::Result<T> {
        let row = self.client.query_one(sql, &[]).await;
        let row = row.context("asking PostgreSQL")?;
        row.try_get(0).context("reading PostgreSQL's answer")
    }

    /// The rows that `sql` selects, two columns each; for few rows.
    pub(crate) async fn pairs<A, B>(&self, sql: &str) -> anyhow::Result<Vec<(A, B)>>
    where
        A: for<'a> FromSql<'a>,
        B: for<'a> FromSql<'a>,
    {
        let rows = self.client.query(sql, &[]).await;
        let rows = rows.context("asking PostgreSQL")?;
        rows.iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .collect::<Result<_, tokio_postgres::Error>>()
            .context("reading PostgreSQL's answer")
    }

    /// The rows that `sql` selects as JSON texts, one column; for few rows.
    pub(crate) async fn json(&self, sql: &str) -> anyhow::Result<Vec<serde_json::Value>> {
        let rows = self.client.query(sql, &[]).await;
        rows.context("asking PostgreSQL")?
            .iter()
            .map(|row| {
                let text: String = row.try_get(0)?;
                Ok(serde_json::from_str(&text)?)
            })
            .collect::<anyhow::Result<_>>()
            .context("reading PostgreSQL's answer")
    }

    /// Copies what `query` selects on the session `from` into `table` here, piece by piece as it comes; returns how
    /// many rows that were.
    pub(crate) async fn copy_from(
        &self,
        from: &Self,
        query: &str,
        table: &str,
    ) -> anyhow::Result<u64> {
        let query = format!("copy ({query}) to stdout");
        let out = from.client.copy_out(&query).await;
        let mut out = pin!(out.context("asking PostgreSQL")?);
        let fill = format!("copy {table} from stdin");
        let into = self.client.copy_in(&fill).await;
        let mut into = pin!(into.context("filling a temporary table")?);
        while let Some(piece) = out.next().await {
            let piece = piece.context("reading from PostgreSQL")?;
            into.feed(piece)
                .await
                .context("filling a temporary table")?;
        }
        into.finish().await.context("filling a temporary table")
    }

    /// Copies the rows that come through `rows` into `table`, until the channel is closed; tells `each` how many have
    /// come so far.
    pub(crate) async fn copy_rows(
        &self,
        table: &str,
        rows: &mut mpsc::Receiver<Rows>,
        each: &(dyn Fn(u64) + Sync),
    ) -> anyhow::Result<()> {
        let fill = format!("copy {table} from stdin");
        let into = self.client.copy_in(&fill).await;
        let mut into = pin!(into.context("filling a temporary table")?);
        let mut count = 0;
        while let Some(Rows { text, read }) = rows.recv().await {
            count += read;
            let piece = Cursor::new(text.into_bytes());
            into.send(piece)
                .await
                .context("filling a temporary table")?;
            each(count);
        }
        into.finish().await.context("filling a temporary table")?;
        Ok(())
    }

    /// Copies a few rows into `table`.
    pub(crate) async fn copy(&self, table: &str, rows: Rows) -> anyhow::Result<()> {
        let (sender, mut receiver) = mpsc::channel(1);
        sender.try_send(rows)?;
        drop(sender);
        self.copy_rows(table, &mut receiver, &|_| {}).await
    }
}

/// Some rows in the text format of `copy`.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    text: String,
    /// Things read to make them; some make no row.
    pub read: u64,
}

impl Rows {
    /// Adds a row; `None` is null.
    pub(crate) fn add<'a>(&mut self, fields: impl IntoIterator<Item = Option<&'a str>>) {
        for (place, field) in fields.into_iter().enumerate() {
            if place > 0 {
                self.text.push('\t');
            }
            match field {
                None => self.text.push_str("\\N"),
                Some(field) => escape(field, &mut self.text),
            }
        }
        self.text.push('\n');
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.text.len() >= ROWS_BYTES || self.read >= ROWS_READ
    }
}

/// Bytes that are sent at once, about.
const ROWS_BYTES: usize = 256 * 1024;

/// Things read for one piece, at most: progress is reported for each.
const ROWS_READ: u64 = 10_000;

/// Source: PostgreSQL manual, COPY, "Text Format". A NUL, which no text of PostgreSQL can hold, is replaced: left out, it
/// would hide that two texts differ.
fn escape(field: &str, text: &mut String) {
    for letter in field.chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\0' => text.push(char::REPLACEMENT_CHARACTER),
            letter => text.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_can_hold_any_text() {
        let mut rows = Rows::default();
        rows.add([Some("a\tb\\N\n\r\0c"), None, Some("")]);
        assert_eq!(rows.text, "a\\tb\\\\N\\n\\r\u{fffd}c\t\\N\t\n");
    }
}
