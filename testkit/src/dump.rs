//! Backups of a test's database, and their restore.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use diesel::migration::{Migration, MigrationSource as _};
use diesel::pg::Pg;
use diesel_async::{
    AsyncConnection as _, AsyncMigrationHarness, AsyncPgConnection, SimpleAsyncConnection as _,
};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _};

use crate::TestDatabase;
use crate::server::programs;

impl TestDatabase {
    /// Returns the output of `pg_dump`, also while others work on the database.
    #[must_use]
    pub fn dump(&self) -> Vec<u8> {
        let mut dump = Command::new(programs().join("pg_dump"));
        dump.args(["--format=custom", "--dbname", self.url()]);
        well(dump.output().expect("pg_dump is installed")).stdout
    }

    /// Replaces the database by `dump`; sessions are cut off.
    pub async fn restore(&self, dump: &[u8]) {
        let mut admin = AsyncPgConnection::establish(&super::server_url())
            .await
            .expect("the test PostgreSQL answers");
        let name = self.name();
        for statement in ["drop database {} with (force)", "create database {}"] {
            let replaced = admin.batch_execute(&statement.replace("{}", name)).await;
            replaced.expect("the database is replaced");
        }
        let restore = Command::new(programs().join("pg_restore"))
            .args(["--exit-on-error", "--dbname", self.url()])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut restore = restore.expect("pg_restore is installed");
        let input = restore.stdin.take();
        let written = input.expect("it has an input").write_all(dump);
        written.expect("pg_restore reads the dump");
        well(restore.wait_with_output().expect("pg_restore ends"));
    }
}

/// Applies the migrations `own` one by one after `others`, takes each of them back, the last one first, and applies them again:
/// after each step back the schema is what it was before the step forward.
pub async fn up_down_up(others: Vec<EmbeddedMigrations>, own: EmbeddedMigrations) {
    let database = TestDatabase::create("updownup", others).await;
    let mut harness = AsyncMigrationHarness::new(database.connect().await);
    let stepped = tokio::task::spawn_blocking(move || {
        let mut all: Vec<Box<dyn Migration<Pg>>> = own.migrations().expect("they are read");
        all.sort_by_key(|migration| migration.name().version().as_owned());
        let mut before = Vec::new();
        for migration in &all {
            before.push(schema(&database));
            harness
                .run_migration(migration)
                .unwrap_or_else(|error| panic!("{}: {error}", migration.name()));
        }
        let whole = schema(&database);
        for (migration, before) in all.iter().zip(&before).rev() {
            harness
                .revert_migration(migration)
                .unwrap_or_else(|error| panic!("{}: {error}", migration.name()));
            assert_eq!(&schema(&database), before, "{}", migration.name());
        }
        for migration in &all {
            harness
                .run_migration(migration)
                .unwrap_or_else(|error| panic!("{}: {error}", migration.name()));
        }
        assert_eq!(schema(&database), whole);
    });
    stepped.await.expect("each migration can be taken back");
}

/// The statements that make the schema.
fn schema(database: &TestDatabase) -> String {
    let mut dump = Command::new(programs().join("pg_dump"));
    dump.args(["--schema-only", "--dbname", database.url()]);
    let dump = well(dump.output().expect("pg_dump is installed")).stdout;
    let dump = String::from_utf8(dump).expect("a schema is text");
    // Two lines have a word that is another one each time.
    let lines = dump.lines();
    let lines =
        lines.filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"));
    lines.collect::<Vec<_>>().join("\n")
}

fn well(output: Output) -> Output {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    output
}
