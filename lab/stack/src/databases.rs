//! The databases of the services: made and migrated. The services' own programs do the migrating.

use std::path::Path;

use anyhow::Context as _;
use diesel::{ExpressionMethods as _, QueryDsl as _, select};
use diesel_async::{RunQueryDsl as _, SimpleAsyncConnection as _};
use reqwest::Url;

use crate::connect;
use crate::home::Home;
use crate::program::{LogFile, command, run_to_end};
use crate::url;

diesel::table! {
    pg_database (datname) {
        datname -> Text,
    }
}

/// Makes the database on the server, if it is missing, brings it up to date with the program from
/// `programs`, has it make its `roles` or not, and returns the URL.
pub async fn prepare(
    home: &Home,
    programs: &Path,
    server: &str,
    name: &str,
    program: &str,
    roles: bool,
) -> anyhow::Result<String> {
    create(server, name)
        .await
        .with_context(|| format!("making the database {name}"))?;
    let url = url::database_url(server, name)?;
    let mut migrate = command(programs.join(program), None);
    migrate.arg("migrate").args(roles.then_some("--roles"));
    migrate.env("DATABASE_URL", &url);
    let log = LogFile::new(home.log(&format!("{program}-migrate")));
    run_to_end(&format!("{program} migrate"), migrate, &log).await?;
    Ok(url)
}

/// Lets the services log in as the roles that their programs make: for a server of the lab's own.
///
/// The relay owns the outbox, because whoever changes a publication has to: it can switch between its modes by itself.
pub async fn let_roles_in(
    home: &Home,
    url: &str,
    service: &str,
    relay: &str,
) -> anyhow::Result<()> {
    let mut conn = chassis::database::connect(url, "lab").await?;
    let database: String = select(diesel::dsl::sql::<diesel::sql_types::Text>(
        "current_database()::text",
    ))
    .get_result(&mut conn)
    .await?;
    let password = |role| {
        let url = Url::parse(&url::as_role(url, role)?)?;
        anyhow::Ok(url.password().unwrap_or_default().to_owned())
    };
    let (service_password, relay_password) = (password(service)?, password(relay)?);
    connect::save_password(home, relay, &relay_password)?;
    conn.batch_execute(&format!(
        "alter role {service} login password '{service_password}'; \
         alter role {relay} login replication password '{relay_password}'; \
         grant create on database {database} to {relay}; \
         alter table outbox owner to {relay}; \
         do $$ declare publication text; begin \
             for publication in select pubname from pg_publication loop \
                 execute format('alter publication %I owner to {relay}', publication); \
             end loop; \
         end $$"
    ))
    .await
    .with_context(|| format!("letting {service} and {relay} in"))
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
