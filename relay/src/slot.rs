//! The replication slot and the publication of a mode: created if missing, recreated if invalid.
//!
//! | step | statement | why here |
//! | --- | --- | --- |
//! | 1 | `wal_level`, the role's right | an error that says what to set |
//! | 2 | the publication is not there, or is not the outbox's: create it, and drop the slot | a slot decodes by the catalog of its time, in which a younger publication does not exist |
//! | 3 | the slot is lost: drop it | PostgreSQL has thrown away what it needs |
//! | 4 | mode cdc, the slot is not there: create it | it waits for every transaction that is writing; what commits from then on comes by the stream |
//!
//! A slot that is dropped costs nothing but a sweep: the table is the truth.

pub mod gauges;

use chassis::telemetry::chain;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use outbox::statement;
use tracing::{info, warn};

use crate::relay_mode::RelayMode;
use crate::session::{SessionError, with_timeout};

/// The publication of mode cdc, and the beginning of its slot's name.
pub(crate) const CDC: &str = "outbox_relay";

/// The same of mode debezium.
pub(crate) const DEBEZIUM: &str = "outbox_debezium";

/// The publication of `mode`, if it has one.
#[must_use]
pub const fn publication(mode: RelayMode) -> Option<&'static str> {
    match mode {
        RelayMode::Poller => None,
        RelayMode::Cdc => Some(CDC),
        RelayMode::Debezium => Some(DEBEZIUM),
    }
}

const DROP_TRIES: u32 = 3;

/// The longest name that PostgreSQL keeps whole, in bytes.
const NAME_BYTES_MAX: usize = 63;

/// Why there is no slot to stream from.
#[expect(missing_docs, reason = "the messages say it")]
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    #[error(
        "this mode needs wal_level=logical and the server has wal_level={0}: \
         alter system set wal_level = 'logical', and restart PostgreSQL"
    )]
    WalLevel(String),
    #[error(
        "this mode needs a role that may replicate and \"{0}\" may not: alter role \"{0}\" replication"
    )]
    NotAllowed(String),
    #[error("replication slot {0} exists and is not this relay's: drop it or rename it")]
    Foreign(String),
    #[error("the replication slot {0} is in use again and again")]
    InUse(String),
    #[error(transparent)]
    Session(#[from] SessionError),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    pub name: String,
    pub publication: &'static str,
    pub database: String,
    pub user: String,
    pub publication_version: String,
}

/// The name of the slot of a database: readable, and another for another database.
pub(crate) fn slot_name(publication: &str, database: &str, oid: i64) -> String {
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let name = format!("{publication}_{database}");
    if database.chars().all(valid) && name.len() <= NAME_BYTES_MAX {
        return name;
    }
    let readable = database.to_ascii_lowercase();
    let readable = readable.chars().map(|c| if valid(c) { c } else { '_' });
    let number = format!("_{oid}");
    let room = NAME_BYTES_MAX - publication.len() - 1 - number.len();
    format!(
        "{publication}_{}{number}",
        readable.take(room).collect::<String>()
    )
}

/// Creates `publication` if it is missing, and drops its slot if that is invalid, or if `recreate` says so. Returns
/// whether there is a slot.
pub(crate) async fn ensure(
    conn: &mut AsyncPgConnection,
    publication: &'static str,
    recreate: bool,
) -> Result<(Slot, bool), SlotError> {
    let asking = "asking for the server's settings";
    let server = with_timeout(asking, server(conn)).await?;
    // Step 1: the server and the role.
    if server.wal_level != "logical" {
        return Err(SlotError::WalLevel(server.wal_level));
    }
    if !server.may_replicate {
        return Err(SlotError::NotAllowed(server.user));
    }
    // What is there.
    let database = with_timeout(asking, database(conn)).await?;
    let found = with_timeout(asking, publication_version(conn, publication)).await?;
    let has_publication = found.is_some();
    let mut slot = Slot {
        name: slot_name(publication, &database.name, database.oid),
        publication,
        database: database.name,
        user: server.user,
        publication_version: found.unwrap_or_default(),
    };
    // Steps 2 and 3: drop an invalid slot, create the publication.
    let state = with_timeout("looking at the slot", state(conn, &slot.name)).await?;
    let mut there = state.is_some();
    if let Some(state) = &state {
        if !state.is_ours {
            return Err(SlotError::Foreign(slot.name));
        }
        if recreate || state.wal_status.as_deref() == Some("lost") || !has_publication {
            warn!(slot = slot.name, "the slot is invalid and is recreated");
            drop_slot(conn, &slot.name).await?;
            there = false;
        }
    }
    if !has_publication {
        let create = format!(
            "drop publication if exists {publication}; \
             create publication {publication} for table outbox with (publish = 'insert')"
        );
        let created = conn.batch_execute(&create);
        with_timeout("creating the publication", created).await?;
        let created = with_timeout(asking, publication_version(conn, publication)).await?;
        slot.publication_version = created.unwrap_or_default();
    }
    Ok((slot, there))
}

/// Creates the slot, from PostgreSQL 17 on with `failover`: standbys that ask for it get it, too.
pub(crate) async fn create(conn: &mut AsyncPgConnection, slot: &Slot) -> Result<(), SessionError> {
    let server = with_timeout("asking for the server's settings", server(conn)).await?;
    let create = if server.version_number >= 170_000 {
        "select pg_create_logical_replication_slot($1, 'pgoutput', false, false, true)"
    } else {
        "select pg_create_logical_replication_slot($1, 'pgoutput')"
    };
    let created = statement(create).bind::<Text, _>(&slot.name).execute(conn);
    let doing = "creating the slot, which waits for every transaction that is writing";
    with_timeout(doing, created).await?;
    info!(slot = slot.name, "slot created");
    Ok(())
}

/// Drops the slot `name` if it is there, and ends the process that streams from it. Only to be called by the holder of a
/// mode's lock: nobody else's stream is alive then but that of a relay that is dead or about to notice.
pub(crate) async fn drop_slot(
    conn: &mut AsyncPgConnection,
    name: &str,
) -> Result<(), SessionError> {
    release(conn, name).await?;
    let dropped = statement(
        "select pg_drop_replication_slot(slot_name) from pg_replication_slots \
         where slot_name = $1 and database = current_database() and not active",
    )
    .bind::<Text, _>(name)
    .execute(conn);
    with_timeout("dropping the slot", dropped).await?;
    Ok(())
}

/// Drops the slot `name` of this database if it is there, as [`drop_slot`] does; returns whether it was.
pub(crate) async fn drop_ours(conn: &mut AsyncPgConnection, name: &str) -> Result<bool, SlotError> {
    let looking = "looking for a slot";
    let found = with_timeout(looking, state(conn, name)).await?;
    if found.is_none_or(|slot| !slot.is_ours) {
        return Ok(false);
    }
    for _ in 0..DROP_TRIES {
        let dropped = drop_slot(conn, name).await;
        if with_timeout(looking, state(conn, name)).await?.is_none() {
            return Ok(true);
        }
        // Another process was quicker and streams from it: the next try drops it.
        if let Err(error) = dropped {
            warn!(slot = name, "dropping a slot: {}", chain(&error));
        }
    }
    Err(SlotError::InUse(name.to_owned()))
}

/// Drops the publication if it is there; returns whether it was.
pub(crate) async fn drop_publication(
    conn: &mut AsyncPgConnection,
    publication: &str,
) -> Result<bool, SessionError> {
    let found = with_timeout("looking for the publication", has(conn, publication)).await?;
    if found {
        let drop = format!("drop publication if exists {publication}");
        with_timeout("dropping the publication", conn.batch_execute(&drop)).await?;
    }
    Ok(found)
}

async fn has(conn: &mut AsyncPgConnection, publication: &str) -> diesel::QueryResult<bool> {
    #[derive(QueryableByName)]
    struct Found {
        #[diesel(sql_type = Bool)]
        found: bool,
    }
    let found = statement("select exists (select from pg_publication where pubname = $1) as found");
    let found = found.bind::<Text, _>(publication);
    let found: Found = found.get_result(conn).await?;
    Ok(found.found)
}

/// Whether the mode of `publication` has left anything in this database.
pub(crate) async fn traces(
    conn: &mut AsyncPgConnection,
    publication: &str,
) -> diesel::QueryResult<bool> {
    let name = name_here(conn, publication).await?;
    let slot = state(conn, &name).await?;
    Ok(slot.is_some_and(|slot| slot.is_ours) || has(conn, publication).await?)
}

/// Ends the process that streams from the slot `name`, and waits up to 5 s for its end.
pub(crate) async fn release(conn: &mut AsyncPgConnection, name: &str) -> Result<(), SessionError> {
    let released = statement(
        "select pg_terminate_backend(active_pid, 5000) from pg_replication_slots \
         where slot_name = $1 and database = current_database() and active",
    )
    .bind::<Text, _>(name)
    .execute(conn);
    with_timeout("ending an old replication stream", released).await?;
    Ok(())
}

/// The slot, and the end of the log.
#[derive(Debug, Clone, QueryableByName)]
pub(crate) struct State {
    #[diesel(sql_type = Bool)]
    pub(crate) is_ours: bool,
    #[diesel(sql_type = Bool)]
    pub(crate) active: bool,
    #[diesel(sql_type = Nullable<Text>)]
    pub(crate) wal_status: Option<String>,
    /// Bytes of log that PostgreSQL keeps for it.
    #[diesel(sql_type = BigInt)]
    pub(crate) retained_bytes: i64,
    #[diesel(sql_type = BigInt)]
    pub(crate) lag_bytes: i64,
    #[diesel(sql_type = Text)]
    pub(crate) log_end: String,
    /// Everything before is confirmed.
    #[diesel(sql_type = Nullable<Text>)]
    pub(crate) confirmed: Option<String>,
}

pub(crate) async fn state(
    conn: &mut AsyncPgConnection,
    name: &str,
) -> diesel::QueryResult<Option<State>> {
    let states: Vec<State> = statement(
        "select coalesce(database = current_database() and plugin = 'pgoutput', false) as is_ours, \
             active, wal_status, \
             coalesce(pg_current_wal_lsn() - restart_lsn, 0)::bigint as retained_bytes, \
             coalesce(pg_current_wal_lsn() - confirmed_flush_lsn, 0)::bigint as lag_bytes, \
             pg_current_wal_lsn()::text as log_end, confirmed_flush_lsn::text as confirmed \
         from pg_replication_slots where slot_name = $1",
    )
    .bind::<Text, _>(name)
    .load(conn)
    .await?;
    Ok(states.into_iter().next())
}

#[derive(QueryableByName)]
struct Server {
    #[diesel(sql_type = Text)]
    user: String,
    #[diesel(sql_type = Integer)]
    version_number: i32,
    #[diesel(sql_type = Text)]
    wal_level: String,
    #[diesel(sql_type = Bool)]
    may_replicate: bool,
}

async fn server(conn: &mut AsyncPgConnection) -> diesel::QueryResult<Server> {
    statement(
        "select current_user::text as user, current_setting('server_version_num')::int as version_number, \
             current_setting('wal_level') as wal_level, \
             exists ( \
                 select from pg_roles where rolname = current_user and (rolsuper or rolreplication) \
             ) or exists ( \
                 select from pg_roles as hosted \
                 where hosted.rolname = 'rds_replication' and pg_has_role(hosted.oid, 'member') \
             ) as may_replicate",
    )
    .get_result(conn)
    .await
}

/// Which version of `publication` this is, if it is there and publishes each insert into the outbox. An alteration
/// writes one of its rows in the catalog again, also one that was taken back.
pub(crate) async fn publication_version(
    conn: &mut AsyncPgConnection,
    publication: &str,
) -> diesel::QueryResult<Option<String>> {
    #[derive(QueryableByName)]
    struct Version {
        #[diesel(sql_type = Text)]
        version: String,
    }
    let versions: Vec<Version> = statement(
        "select format('%s-%s-%s-%s', publication.oid, publication.xmin, of_table.oid, of_table.xmin) as version \
         from pg_publication as publication \
             join pg_publication_rel as of_table on prpubid = publication.oid \
         where pubname = $1 and prrelid = 'outbox'::regclass and pubinsert and not pubdelete \
             and prqual is null and prattrs is null",
    )
    .bind::<Text, _>(publication)
    .load(conn)
    .await?;
    Ok(versions.into_iter().next().map(|found| found.version))
}

pub(crate) async fn name_here(
    conn: &mut AsyncPgConnection,
    publication: &str,
) -> diesel::QueryResult<String> {
    let database = database(conn).await?;
    Ok(slot_name(publication, &database.name, database.oid))
}

#[derive(QueryableByName)]
struct Database {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = BigInt)]
    oid: i64,
}

async fn database(conn: &mut AsyncPgConnection) -> diesel::QueryResult<Database> {
    statement(
        "select datname::text as name, oid::bigint from pg_database where datname = current_database()",
    )
    .get_result(conn)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slots_name_is_valid_and_another_for_another_database() {
        assert_eq!(slot_name(CDC, "wallet", 7), "outbox_relay_wallet");
        assert_eq!(slot_name(CDC, "Wallet-1", 7), "outbox_relay_wallet_1_7");
        assert_ne!(slot_name(CDC, "a-b", 7), slot_name(CDC, "a.b", 8));
        let long = slot_name(CDC, &"ü".repeat(63), 4_294_967_295);
        assert_eq!(long.len(), NAME_BYTES_MAX);
        assert!(long.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'));
    }
}
