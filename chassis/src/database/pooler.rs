//! A pooler between the service and PostgreSQL: one that gives each session a server of its own does no harm; one that
//! changes the server with every transaction takes locks, prepared statements and settings away.

use diesel::result::ConnectionError;
use tokio::task::JoinSet;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::target::{Open, Target};
use crate::error_chain::chain;

/// How often to look. Each look finds a pooler of transactions unless other clients come in between.
const LOOKS: u32 = 5;

const REFUSED: &str = "a pooler gives this service's sessions another server for each transaction, and the service needs \
     sessions of its own (locks, prepared statements, settings): set pool_mode=session for this database in PgBouncer, \
     or let DATABASE_URL name PostgreSQL itself";

impl Target {
    /// Refuses a pooler that shares servers between sessions, such as PgBouncer's `pool_mode=transaction`: two open
    /// sessions are asked for the number of their server process while the second one is in a transaction.
    ///
    /// # Errors
    /// There is such a pooler, or the server can't be reached.
    pub async fn refuse_transaction_pooling(&self) -> Result<(), ConnectionError> {
        let mut connections = JoinSet::new();
        let first = open(self, &mut connections).await?;
        let second = open(self, &mut connections).await?;
        for _ in 0..LOOKS {
            let shared = look(&first, &second).await.map_err(|error| {
                ConnectionError::BadConnection(format!(
                    "asking whether there is a pooler: {}",
                    chain(&error)
                ))
            })?;
            if shared {
                return Err(ConnectionError::BadConnection(REFUSED.to_owned()));
            }
        }
        Ok(())
    }
}

async fn open(target: &Target, connections: &mut JoinSet<()>) -> Result<Client, ConnectionError> {
    let Open {
        client, connection, ..
    } = target.open().await?;
    // An error ends the queries that wait for it: they tell.
    connections.spawn(async move { drop(connection.await) });
    Ok(client)
}

/// Whether the two sessions share a server, or the first one's changes.
async fn look(first: &Client, second: &Client) -> Result<bool, tokio_postgres::Error> {
    let before = server_process(first).await?;
    second.batch_execute("begin").await?;
    let between = server_process(second).await?;
    let shared = before == between || server_process(first).await? != before;
    second.batch_execute("rollback").await?;
    Ok(shared)
}

/// By the simple protocol: a prepared statement is among the things that such a pooler loses.
async fn server_process(client: &Client) -> Result<Option<String>, tokio_postgres::Error> {
    let rows = client.simple_query("select pg_backend_pid()").await?;
    Ok(rows.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    }))
}
