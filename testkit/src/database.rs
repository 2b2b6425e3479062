//! A database for each test, cloned from a migrated template.

use std::collections::HashMap;
use std::sync::LazyLock;

use chassis::database::{Pool, Target};
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Text};
use diesel_async::{
    AsyncConnection as _, AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _,
};
use diesel_migrations::EmbeddedMigrations;
use tokio::sync::Mutex;
use uuid::Uuid;

/// A database that belongs to one test and is dropped with this value.
///
/// A whole database and not a schema: replication slots and advisory locks belong to a database.
#[derive(Debug)]
pub struct TestDatabase {
    name: String,
    url: String,
    /// `None`: the database ends with the test's own server.
    server: Option<String>,
}

/// The templates of this process, by the name of their migrations.
static TEMPLATES: LazyLock<Mutex<HashMap<&'static str, String>>> = LazyLock::new(Mutex::default);

impl TestDatabase {
    /// Creates a database with `migrations` applied; `kind` names the set, which is applied once a process.
    pub async fn create(kind: &'static str, migrations: Vec<EmbeddedMigrations>) -> Self {
        let server = super::server_url();
        let mut admin = AsyncPgConnection::establish(&server)
            .await
            .expect("the test PostgreSQL answers");
        // Held while cloning too: a template must have no other users.
        let mut templates = TEMPLATES.lock().await;
        let template = match templates.get(kind) {
            Some(template) => template.clone(),
            None => {
                let template = format!("template_{kind}_{}", Uuid::now_v7().simple());
                admin
                    .batch_execute(&format!("create database {template}"))
                    .await
                    .expect("the template is created");
                migrate(&with_database(&server, &template), migrations).await;
                templates.insert(kind, template.clone());
                template
            }
        };
        let name = format!("test_{}", Uuid::now_v7().simple());
        clone_template(&mut admin, &template, &name).await;
        drop(templates);
        Self {
            url: with_database(&server, &name),
            name,
            server: Some(server),
        }
    }

    /// Creates a database that ends with the test's own server, at `server_url`.
    pub(crate) async fn on(server_url: &str, migrations: Vec<EmbeddedMigrations>) -> Self {
        let name = format!("test_{}", Uuid::now_v7().simple());
        let url = with_database(server_url, &name);
        let mut admin = AsyncPgConnection::establish(server_url)
            .await
            .expect("the test's server answers");
        admin
            .batch_execute(&format!("create database {name}"))
            .await
            .expect("the database is created");
        migrate(&url, migrations).await;
        Self {
            name,
            url,
            server: None,
        }
    }

    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The URL for another login, `user` or `user:password` in a URL's spelling.
    #[must_use]
    pub fn url_as(&self, login: &str) -> String {
        let (_, place) = self.url.rsplit_once('@').expect("its URL has a login");
        format!("postgres://{login}@{place}")
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Connects, to look or to be in the way of others.
    pub async fn connect(&self) -> AsyncPgConnection {
        AsyncPgConnection::establish(&self.url)
            .await
            .expect("the test's database answers")
    }

    /// The number that `sql` selects as `count`.
    pub async fn count(&self, sql: &str) -> i64 {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = BigInt)]
            count: i64,
        }
        let mut conn = self.connect().await;
        let row: Row = diesel::sql_query(sql)
            .get_result(&mut conn)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
        row.count
    }

    /// From now on tables are analysed by the test alone, however they grow, and plans that are kept stay kept.
    pub async fn keep_statistics(&self) {
        let mut conn = self.connect().await;
        conn.batch_execute(
            "do $$ declare name text; begin \
                 for name in select relname from pg_stat_user_tables loop \
                     execute format('alter table %I set (autovacuum_enabled = off)', name); \
                 end loop; \
             end $$",
        )
        .await
        .expect("the statistics are kept");
    }

    /// Analyses all tables.
    pub async fn analyse(&self) {
        let mut conn = self.connect().await;
        let analysed = conn.batch_execute("analyze").await;
        analysed.expect("the tables are analysed");
    }

    /// Runs `grow`, which makes tables large; from then on counts what [`Self::read_from_end_to_end`] tells.
    pub async fn grow(&self, grow: &str) {
        let mut conn = self.connect().await;
        // The first makes this session tell what it read itself.
        for sql in [
            grow,
            "select pg_stat_force_next_flush()",
            "select pg_stat_reset()",
        ] {
            conn.batch_execute(sql)
                .await
                .unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
    }

    /// The tables and indexes of which at least `rows` rows were read since [`Self::grow`], by the sessions of the service
    /// whose pool this is; of a table, without an index. Closes the pool: a session tells what it did when it ends.
    pub async fn read_from_end_to_end(&self, pool: &Pool, rows: u32) -> Vec<String> {
        #[derive(QueryableByName)]
        struct Table {
            #[diesel(sql_type = Text)]
            name: String,
        }
        pool.close();
        super::eventually("no session but this one is left", async || {
            let others = "select count(*) from pg_stat_activity where datname = current_database() \
                 and backend_type = 'client backend' and pid <> pg_backend_pid()";
            match self.count(others).await {
                0 => Ok(()),
                open => Err(format!("{open} sessions")),
            }
        })
        .await;
        let tables = format!(
            "select format('%s: %s rows', relname, seq_tup_read) as name \
                 from pg_stat_user_tables where seq_tup_read >= {rows} \
             union all select format('%s: %s entries', indexrelname, idx_tup_read) \
                 from pg_stat_user_indexes where idx_tup_read >= {rows}"
        );
        let mut conn = self.connect().await;
        let tables: Vec<Table> = diesel::sql_query(tables)
            .load(&mut conn)
            .await
            .expect("the counters are read");
        tables.into_iter().map(|table| table.name).collect()
    }

    /// Opens a transaction and runs `sql` in it, to be in the way of others until
    /// [`InTheWay::clear`].
    pub async fn in_the_way(&self, sql: &str) -> InTheWay {
        let mut conn = self.connect().await;
        conn.batch_execute(&format!("begin; {sql}"))
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
        InTheWay { conn }
    }

    /// Waits until some session of this database waits for a lock.
    pub async fn somebody_waits(&self) {
        self.sessions_wait(1).await;
    }

    /// Waits until that many sessions of this database wait for a lock.
    pub async fn sessions_wait(&self, sessions: i64) {
        super::eventually("sessions wait for a lock", async || {
            match self.count(&format!("select count(*) {WAITING}")).await {
                waiting if waiting >= sessions => Ok(()),
                waiting => Err(format!("{waiting} of {sessions} do")),
            }
        })
        .await;
    }

    /// Ends the sessions that wait for a lock, as a broken network does, and returns their number.
    pub async fn end_waiting_sessions(&self) -> i64 {
        self.count(&format!(
            "select count(pg_terminate_backend(pid)) {WAITING}"
        ))
        .await
    }
}

/// The sessions of this database that wait for a lock.
const WAITING: &str =
    "from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";

/// An open transaction with locks that others wait for.
pub struct InTheWay {
    conn: AsyncPgConnection,
}

impl InTheWay {
    /// Rolls back, so that the sessions that wait continue.
    pub async fn clear(mut self) {
        self.conn
            .batch_execute("rollback")
            .await
            .expect("the transaction is rolled back");
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let Some(server) = self.server.take() else {
            return;
        };
        let statement = format!("drop database if exists {} with (force)", self.name);
        // A thread of its own: drop can't await, and the test's runtime may be going down.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let mut admin = AsyncPgConnection::establish(&server)
                    .await
                    .map_err(std::io::Error::other)?;
                // The server may still be noticing that a replication stream of the test has ended.
                super::eventually("the test's database is dropped", async || {
                    let dropped = admin.batch_execute(&statement).await;
                    dropped.map_err(|error| error.to_string())
                })
                .await;
                std::io::Result::Ok(())
            })
        })
        .join();
        if !matches!(dropped, Ok(Ok(()))) && !std::thread::panicking() {
            panic!("the database {} was not dropped: {dropped:?}", self.name);
        }
    }
}

/// The migration's own connection may still be closing in the server; until then cloning is refused.
async fn clone_template(admin: &mut AsyncPgConnection, template: &str, name: &str) {
    super::eventually("the template has no other users", async || {
        admin
            .batch_execute(&format!(
                "create database {name} template {template} strategy file_copy"
            ))
            .await
            .map_err(|error| error.to_string())
    })
    .await;
}

async fn migrate(url: &str, migrations: Vec<EmbeddedMigrations>) {
    let target = Target::parse(url, None).expect("the test's URL is one");
    let migrated = chassis::database::migrate(&target, migrations, None).await;
    migrated.expect("the database is migrated");
}

/// `server` with another database in its path.
fn with_database(server: &str, name: &str) -> String {
    let (base, query) = server.split_once('?').unwrap_or((server, ""));
    let authority = base
        .match_indices('/')
        .nth(2)
        .map_or(base, |(end, _)| base.get(..end).unwrap_or(base));
    if query.is_empty() {
        format!("{authority}/{name}")
    } else {
        format!("{authority}/{name}?{query}")
    }
}
