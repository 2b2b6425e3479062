//! Backups of a test's database, and their restore.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use diesel_async::{AsyncConnection as _, AsyncPgConnection, SimpleAsyncConnection as _};

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

fn well(output: Output) -> Output {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    output
}
