//! The one connection by which a relay reads, deletes and holds its locks: when it is lost, so are the
//! locks, and nothing continues with what may be another relay's by now.

use std::time::Duration;

use chassis::config::DatabaseConfig;
use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection as _};
use outbox::statement;
use tracing::info;

use crate::SERVICE;
use crate::mode_lock::{self, Claim};
use crate::progress::Progress;
use crate::relay_mode::RelayMode;

/// The session's settings.
///
/// The session reads by index whatever the statistics say of a table that is empty at one moment and full at the next,
/// and plans each statement once. A delete that a crash of the server takes back is a redelivery, so its commit
/// need not wait for the disk. A relay that dies in the middle of a statement is noticed, and its locks are
/// freed, before that statement ends.
pub const SETTINGS: &str = "set enable_seqscan = off; \
     set enable_bitmapscan = off; \
     set enable_sort = off; \
     set jit = off; \
     set plan_cache_mode = force_generic_plan; \
     set synchronous_commit = off; \
     set client_connection_check_interval = '1s';";

/// How long the database may take to answer. More than its own `statement_timeout`: only a server
/// that can't be reached is silent for longer.
const DATABASE_SILENCE_MAX: Duration = Duration::from_secs(20);
const MODE_LOCK_EVERY: Duration = Duration::from_secs(1);
const STANDBY_EVERY: Duration = Duration::from_millis(200);

/// Why a relay can't continue with its connection.
#[expect(missing_docs, reason = "the messages say it")]
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error("connecting to the database")]
    Connect(#[from] ConnectionError),
    #[error("{what}")]
    Database {
        what: &'static str,
        source: diesel::result::Error,
    },
    #[error("{what}: the database did not answer for {DATABASE_SILENCE_MAX:?}")]
    Silent { what: &'static str },
}

impl SessionError {
    pub(crate) const fn is_away(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Silent { .. })
    }
}

/// Connects, and waits until no mode but `mode` is running. May be dropped half-way.
pub(crate) async fn begin(
    database: &DatabaseConfig,
    mode: RelayMode,
    progress: &Progress,
) -> Result<AsyncPgConnection, SessionError> {
    let connected = with_timeout("connecting to the database", async {
        Ok(connect(database).await)
    });
    let mut conn = connected.await??;
    let mut waiting_for = None;
    loop {
        let claim = mode_lock::claim(&mut conn, mode);
        match with_timeout("taking the mode's lock", claim).await? {
            Claim::Held => return Ok(conn),
            Claim::HeldBy(other) => {
                if waiting_for.as_ref() != Some(&other) {
                    info!("mode {mode} waits: {other}");
                    progress.blocked(format!("waiting: {other}"));
                    waiting_for = Some(other);
                }
            }
        }
        tokio::time::sleep(MODE_LOCK_EVERY).await;
    }
}

/// Waits until this is the relay of its mode that works. A standby is ready: it does what it should.
/// May be dropped half-way.
pub(crate) async fn stand_by(
    conn: &mut AsyncPgConnection,
    mode: RelayMode,
    progress: &Progress,
) -> Result<(), SessionError> {
    let mut said = false;
    loop {
        let doing = "taking the lock of the relay that works";
        if with_timeout(doing, mode_lock::try_to_work(conn, mode)).await? {
            return Ok(());
        }
        if !said {
            info!("mode {mode} stands by: another relay works");
            said = true;
        }
        progress.stands_by();
        tokio::time::sleep(STANDBY_EVERY).await;
    }
}

/// Which count the numbers of the outbox's rows belong to.
///
/// The same text while they run on, another one after a restore of the database, a failover or a restart of the
/// sequence, when they may begin again with smaller ones. It is made of the server's identity, its timeline, the
/// database, and the files of the table and of its sequence. The letter keeps Kafka Connect from reading the text as a
/// number.
///
/// # Errors
/// The database is away, or is a standby.
pub async fn epoch(conn: &mut AsyncPgConnection) -> QueryResult<String> {
    #[derive(QueryableByName)]
    struct Epoch {
        #[diesel(sql_type = Text)]
        epoch: String,
    }
    let epoch: Epoch = statement(
        "select 'e' || left(md5(concat_ws(':', \
             (select system_identifier from pg_control_system()), \
             left(pg_walfile_name(pg_current_wal_lsn()), 8), \
             (select oid from pg_database where datname = current_database()), \
             pg_relation_filenode('outbox'), \
             pg_relation_filenode(pg_get_serial_sequence('outbox', 'seq')::regclass))), 16) as epoch",
    )
    .get_result(conn)
    .await?;
    Ok(epoch.epoch)
}

/// Releases the mode's lock and all others of the connection.
pub(crate) async fn release_locks(conn: &mut AsyncPgConnection) -> Result<(), SessionError> {
    let released = statement("select pg_advisory_unlock_all()").execute(conn);
    with_timeout("releasing the locks", released).await?;
    Ok(())
}

/// Awaits a query with a timeout; `what` is being done.
pub(crate) async fn with_timeout<T>(
    what: &'static str,
    query: impl Future<Output = QueryResult<T>>,
) -> Result<T, SessionError> {
    match tokio::time::timeout(DATABASE_SILENCE_MAX, query).await {
        Ok(result) => result.map_err(|source| SessionError::Database { what, source }),
        Err(_) => Err(SessionError::Silent { what }),
    }
}

async fn connect(database: &DatabaseConfig) -> Result<AsyncPgConnection, ConnectionError> {
    let target = database.target()?;
    target.refuse_transaction_pooling().await?;
    let mut conn = target.connect(SERVICE).await?;
    conn.batch_execute(SETTINGS)
        .await
        .map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(conn)
}
