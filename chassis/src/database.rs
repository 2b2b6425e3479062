//! The database: pool, migrations, and what its errors mean for the caller.

mod passfile;
mod pooler;
mod target;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use deadpool::Runtime;
use diesel::QueryableByName;
use diesel::dsl::sql;
use diesel::migration::MigrationSource;
use diesel::pg::Pg;
use diesel::result::{ConnectionError, DatabaseErrorKind, Error, QueryResult};
use diesel::sql_types::{Bool, Nullable, Text};
use diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod, deadpool as diesel_deadpool,
};
use diesel_async::{
    AsyncMigrationHarness, AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _,
};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _};
use futures_util::FutureExt as _;
use tokio::sync::OnceCell;

pub use self::target::{Open, Server, Target, TargetError};
pub use self::tls::{Mode, Tls, TlsError, TlsStream};
use crate::config::DatabaseConfig;
use crate::error_chain::chain;
use crate::{Problem, RepeatedError};

/// A connection out of the pool; goes back to it when dropped, unless it is broken.
pub type Connection = diesel_deadpool::Object<AsyncPgConnection>;

/// A pool of connections.
pub type Pool = diesel_deadpool::Pool<AsyncPgConnection>;

/// No connection could be had from the pool.
pub type PoolError = diesel_deadpool::PoolError;

/// How long to wait for a free connection of the pool, and for a new one to be made.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(3);

/// Settings of each session: a statement that hangs, or a transaction nobody ends, is cut off by the
/// database itself. The transactions here take their locks first and are right under read committed; under another
/// default of the database, each that waits for a lock would fail when it gets it.
const SESSION_SETTINGS: &str = "set default_transaction_isolation = 'read committed'; \
     set statement_timeout = '15s'; \
     set lock_timeout = '10s'; \
     set idle_in_transaction_session_timeout = '30s'; \
     set tcp_keepalives_idle = 10; \
     set tcp_keepalives_interval = 5; \
     set tcp_keepalives_count = 3;";

/// Settings of each session of a pool: what a service reads, it looks up by an index, row by row. A plan that was made for a small
/// table is kept until somebody analyses the table, and would read all of a table that has grown since.
const POOL_SETTINGS: &str = "set enable_seqscan = off; set enable_hashjoin = off; set enable_mergejoin = off; set jit = off;";

/// The errors of all requests: each of them fails while the database is away. [`check`] notices the end.
static ERRORS: RepeatedError = RepeatedError::of("answering 503");

/// What a failed database call means for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// A transient failure: a lost connection, a serialization failure, a server that is read-only. Try again.
    Retry,
    /// A failure that Diesel gives no name, so nobody knows whether it passes: a deadlock, a full disk or a
    /// shutdown do, a value out of range or a missing column do not. Try again, a bounded number of times.
    Unknown,
    /// A permanent failure: these values break a rule of the database.
    Reject,
}

/// Classifies an error of the database.
///
/// Diesel keeps no SQLSTATE, and names only a part of them: see [`Failure::Unknown`].
#[must_use]
pub const fn classify(error: &Error) -> Failure {
    match error {
        Error::DatabaseError(
            DatabaseErrorKind::UniqueViolation
            | DatabaseErrorKind::ForeignKeyViolation
            | DatabaseErrorKind::NotNullViolation
            | DatabaseErrorKind::CheckViolation
            | DatabaseErrorKind::RestrictViolation
            | DatabaseErrorKind::ExclusionViolation,
            _,
        )
        | Error::InvalidCString(_)
        | Error::NotFound
        | Error::QueryBuilderError(_)
        | Error::DeserializationError(_)
        | Error::SerializationError(_) => Failure::Reject,
        // 40001, 25006, a connection that is gone, a transaction that ended with it.
        Error::DatabaseError(
            DatabaseErrorKind::SerializationFailure
            | DatabaseErrorKind::ReadOnlyTransaction
            | DatabaseErrorKind::ClosedConnection
            | DatabaseErrorKind::UnableToSendCommand,
            _,
        )
        | Error::RollbackErrorOnCommit { .. }
        | Error::RollbackTransaction
        | Error::AlreadyInTransaction
        | Error::NotInTransaction
        | Error::BrokenTransactionManager => Failure::Retry,
        _ => Failure::Unknown,
    }
}

/// Makes a pool; connects when first asked for a connection. It stays empty while a pooler of transactions is in between:
/// see [`Target::refuse_transaction_pooling`].
///
/// # Errors
/// The settings do not make a pool.
pub fn pool(config: &DatabaseConfig, application_name: &'static str) -> anyhow::Result<Pool> {
    let target = config.target()?;
    let keeps_sessions = Arc::new(OnceCell::new());
    let mut manager = ManagerConfig::default();
    manager.recycling_method = RecyclingMethod::Fast;
    manager.custom_setup = Box::new(move |_| {
        let (target, keeps_sessions) = (target.clone(), Arc::clone(&keeps_sessions));
        async move {
            keeps_sessions
                .get_or_try_init(|| target.refuse_transaction_pooling())
                .await?;
            let mut conn = target.connect(application_name).await?;
            let set = conn.batch_execute(POOL_SETTINGS).await;
            set.map_err(ConnectionError::CouldntSetupConfiguration)?;
            Ok(conn)
        }
        .boxed()
    });
    let manager = AsyncDieselConnectionManager::new_with_config("", manager);
    Pool::builder(manager)
        .max_size(usize::try_from(config.database_pool_size)?)
        .wait_timeout(Some(CONNECTION_TIMEOUT))
        .create_timeout(Some(CONNECTION_TIMEOUT))
        .runtime(Runtime::Tokio1)
        .build()
        .context("making the database pool")
}

/// One connection of its own to the server of `url`, with the session settings of the pool's.
///
/// # Errors
/// The server can't be reached or refuses.
pub async fn connect(
    url: &str,
    application_name: &'static str,
) -> Result<AsyncPgConnection, ConnectionError> {
    let target = Target::parse(url, None)?;
    target.connect(application_name).await
}

impl Target {
    /// One connection, with the session settings of the pool's.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn connect(
        &self,
        application_name: &'static str,
    ) -> Result<AsyncPgConnection, ConnectionError> {
        let Open {
            client, connection, ..
        } = self.open().await?;
        let mut conn =
            AsyncPgConnection::try_from_client_and_connection(client, connection).await?;
        conn.batch_execute(&format!(
            "set application_name = '{application_name}'; {SESSION_SETTINGS}"
        ))
        .await
        .map_err(ConnectionError::CouldntSetupConfiguration)?;
        Ok(conn)
    }
}

/// Applies what is missing of each of `sources`, in their order, and then, if asked to, runs the statements `roles`. Several
/// processes may do so at once.
///
/// # Errors
/// The database can't be reached, or a migration fails; a failed migration changes nothing.
pub async fn migrate(
    target: &Target,
    sources: Vec<EmbeddedMigrations>,
    roles: Option<&'static str>,
) -> anyhow::Result<Vec<String>> {
    let connecting = "connecting to the database to migrate it";
    target
        .refuse_transaction_pooling()
        .await
        .context(connecting)?;
    let Open {
        client, connection, ..
    } = target.open().await.context(connecting)?;
    let mut conn = AsyncPgConnection::try_from_client_and_connection(client, connection).await?;
    // Any constant: whoever comes second waits for the first to finish, and then finds nothing to do.
    conn.batch_execute("select pg_advisory_lock(20260101)")
        .await
        .context("taking the migration lock")?;
    // A migration that waits for a lock holds up all who come after it.
    conn.batch_execute("set lock_timeout = '10s'; set statement_timeout = '30min'")
        .await
        .context("setting the timeouts of a migration")?;
    let migrated = tokio::task::spawn_blocking(move || {
        let mut harness = AsyncMigrationHarness::new(conn);
        let mut applied = Vec::new();
        for source in sources {
            let versions = harness
                .run_pending_migrations(source)
                .map_err(|error| anyhow::anyhow!(error))
                .context("migrating the database")?;
            applied.extend(versions.iter().map(ToString::to_string));
        }
        anyhow::Ok((applied, harness.into_inner()))
    });
    let (applied, mut conn) = migrated.await??;
    if let Some(roles) = roles {
        // One message is one transaction.
        conn.batch_execute(roles)
            .await
            .context("making the roles and granting them what they need")?;
    }
    Ok(applied)
}

/// The schema that a program works with: the migrations that it was built with.
#[derive(Debug, Clone)]
pub struct Schema {
    migrations: Vec<Migration>,
    remedy: &'static str,
}

#[derive(Debug, Clone)]
struct Migration {
    version: String,
    name: String,
}

#[derive(QueryableByName)]
struct Applied {
    #[diesel(sql_type = Text)]
    version: String,
}

impl Schema {
    /// All of `sources`; `remedy` tells an operator how to apply them.
    ///
    /// # Errors
    /// A source can't be read; one that is embedded always can.
    pub fn of(sources: &[EmbeddedMigrations], remedy: &'static str) -> anyhow::Result<Self> {
        let mut migrations = Vec::new();
        for source in sources {
            let embedded = MigrationSource::<Pg>::migrations(source);
            for migration in embedded.map_err(|error| anyhow::anyhow!(error))? {
                migrations.push(Migration {
                    version: migration.name().version().to_string(),
                    name: migration.name().to_string(),
                });
            }
        }
        Ok(Self { migrations, remedy })
    }

    /// The names of its migrations that the database has not applied.
    async fn missing(&self, conn: &mut AsyncPgConnection) -> QueryResult<Vec<&str>> {
        let may_read = "has_table_privilege(to_regclass('__diesel_schema_migrations'), 'select')";
        let may_read = diesel::select(sql::<Nullable<Bool>>(may_read));
        let applied: Vec<Applied> = match may_read.get_result(conn).await? {
            Some(true) => {
                let applied = diesel::sql_query("select version from __diesel_schema_migrations");
                applied.load(conn).await?
            }
            // A relay's role may have been given the outbox and nothing else: it can't tell, and works.
            Some(false) => return Ok(Vec::new()),
            // No table: nobody has migrated this database.
            None => Vec::new(),
        };
        let is_missing = |migration: &&Migration| {
            !applied
                .iter()
                .any(|applied| applied.version == migration.version)
        };
        let missing = self.migrations.iter().filter(is_missing);
        Ok(missing.map(|migration| migration.name.as_str()).collect())
    }
}

/// Succeeds when the database answers a query and has all migrations of `schema`.
///
/// A migration that the program does not know is no failure: a rolling upgrade migrates first, while the older programs
/// still serve. If each of them became unready then, the upgrade would be an outage.
///
/// # Errors
/// The database does not answer, or its schema is older than the program.
pub async fn check(pool: Pool, schema: Schema) -> anyhow::Result<()> {
    let conn = pool.get().await;
    // Its source repeats it.
    let mut conn = conn.map_err(|error| anyhow::anyhow!(chain(&error)))?;
    let missing = schema.missing(&mut conn).await?;
    ERRORS.succeeded();
    anyhow::ensure!(
        missing.is_empty(),
        "the schema is older: {} (missing: {})",
        schema.remedy,
        missing.join(", ")
    );
    Ok(())
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match classify(&error) {
            Failure::Retry => {
                ERRORS.failed(chain(&error));
                Self::unavailable("the database does not answer")
            }
            Failure::Unknown => {
                ERRORS.failed(chain(&error));
                // Not "does not answer": it has, with an error such as that of a missing table.
                Self::unavailable("the database can't do this now; GET /readyz says more")
            }
            Failure::Reject => Self::internal(&error),
        }
    }
}

impl From<PoolError> for Problem {
    fn from(error: PoolError) -> Self {
        ERRORS.failed(chain(&error));
        Self::unavailable("the database does not answer")
    }
}
