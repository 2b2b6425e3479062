//! The databases of the services: made and migrated. The services' own programs do the migrating.

use std::path::Path;

use anyhow::Context as _;
use diesel::{ExpressionMethods as _, QueryDsl as _, select};
use diesel_async::{RunQueryDsl as _, SimpleAsyncConnection as _};

use crate::home::Home;
use crate::program::{LogFile, command, run_to_end};
use crate::url;

diesel::table! {
    pg_database (datname) {
        datname -> Text,
    }
}

/// Makes the database on the server, if it is missing, brings it up to date with the program from
/// `programs`, and returns its URL.
pub async fn prepare(
    home: &Home,
    programs: &Path,
    server: &str,
    name: &str,
    program: &str,
) -> anyhow::Result<String> {
    create(server, name)
        .await
        .with_context(|| format!("making the database {name}"))?;
    let url = url::database_url(server, name)?;
    let mut migrate = command(programs.join(program), None);
    migrate.arg("migrate").env("DATABASE_URL", &url);
    let log = LogFile::new(home.log(&format!("{program}-migrate")));
    run_to_end(&format!("{program} migrate"), migrate, &log).await?;
    Ok(url)
}

async fn create(server: &str, name: &str) -> anyhow::Result<()> {
    let any = url::database_url(server, "postgres")?;
    let mut conn = chassis::database::connect(&any, "lab")
        .await
        .context("connecting")?;
    let known = pg_database::table.filter(pg_database::datname.eq(name));
    let exists: bool = select(diesel::dsl::exists(known))
        .get_result(&mut conn)
        .await?;
    if !exists {
        conn.batch_execute(&format!("create database {name}"))
            .await?;
    }
    Ok(())
}
