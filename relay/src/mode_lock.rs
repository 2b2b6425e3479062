//! One mode at a time: each relay holds a shared advisory lock of its mode on its database connection.
//!
//! | step | statement | lock | why |
//! | --- | --- | --- | --- |
//! | 1 | `pg_advisory_xact_lock` | the gate, until commit | two relays of different modes don't both find nobody |
//! | 2 | `select pg_locks` | none | another mode's lock: wait for its holder, by name |
//! | 3 | `pg_advisory_lock_shared` | own mode, until the connection ends | kept by a crash for no longer than the connection |
//!
//! How often a mode's lock is held is how many relays are running: the poller divides its shards by it.

use std::fmt;

use diesel::QueryableByName;
use diesel::sql_types::{Bool, Integer, Nullable, Text};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl as _};
use outbox::statement;

use crate::relay_mode::RelayMode;

/// First half of the advisory lock keys of modes; the second is [`RelayMode::number`]. Any constant that
/// nobody else takes: "obxm".
pub const LOCK_CLASS: i32 = 0x6f62_786d;

/// First half of the key of the one relay that works, in modes that have one; the second is
/// [`RelayMode::number`]. Any constant that nobody else takes: "obxc".
pub(crate) const WORKING_LOCK_CLASS: i32 = 0x6f62_7863;
const GATE: i32 = 0;

/// Whether the database is this mode's.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// It is, until the connection ends.
    Held,
    /// It is another mode's; the holder in words, for the log.
    HeldBy(String),
}

/// Takes the lock of `mode` on `conn` unless another mode's is held.
#[expect(clippy::missing_errors_doc, reason = "any error of the database")]
pub async fn claim(conn: &mut AsyncPgConnection, mode: RelayMode) -> diesel::QueryResult<Claim> {
    conn.transaction(async |conn| {
        statement("select pg_advisory_xact_lock($1, $2)")
            .bind::<Integer, _>(LOCK_CLASS)
            .bind::<Integer, _>(GATE)
            .execute(conn)
            .await?;
        let others: Vec<Holder> = statement(
            "select objid::int as number, pg_locks.pid, application_name, client_addr::text \
             from pg_locks left join pg_stat_activity using (pid) \
             where locktype = 'advisory' and granted and objsubid = 2 \
             and pg_locks.database = (select oid from pg_database where datname = current_database()) \
             and classid = $1::int::oid and objid <> all (array[$2, $3]::int[]::oid[]) \
             order by pg_locks.pid",
        )
        .bind::<Integer, _>(LOCK_CLASS)
        .bind::<Integer, _>(GATE)
        .bind::<Integer, _>(mode.number())
        .load(conn)
        .await?;
        if let [other, ..] = others.as_slice() {
            return Ok(Claim::HeldBy(other.to_string()));
        }
        statement("select pg_advisory_lock_shared($1, $2)")
            .bind::<Integer, _>(LOCK_CLASS)
            .bind::<Integer, _>(mode.number())
            .execute(conn)
            .await?;
        Ok(Claim::Held)
    })
    .await
}

/// Tries to take the lock of the one relay of `mode` that works; the lock is held until the connection ends.
pub(crate) async fn try_to_work(
    conn: &mut AsyncPgConnection,
    mode: RelayMode,
) -> diesel::QueryResult<bool> {
    #[derive(QueryableByName)]
    struct Locked {
        #[diesel(sql_type = Bool)]
        locked: bool,
    }
    let locked: Locked = statement("select pg_try_advisory_lock($1, $2) as locked")
        .bind::<Integer, _>(WORKING_LOCK_CLASS)
        .bind::<Integer, _>(mode.number())
        .get_result(conn)
        .await?;
    Ok(locked.locked)
}

#[derive(QueryableByName)]
struct Holder {
    #[diesel(sql_type = Integer)]
    number: i32,
    #[diesel(sql_type = Integer)]
    pid: i32,
    #[diesel(sql_type = Nullable<Text>)]
    application_name: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    client_addr: Option<String>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match RelayMode::ALL
            .into_iter()
            .find(|mode| mode.number() == self.number)
        {
            Some(mode) => write!(f, "mode {mode}")?,
            None => write!(f, "a mode this build does not know ({})", self.number)?,
        }
        write!(
            f,
            " is running: session {} of \"{}\" from {}",
            self.pid,
            self.application_name.as_deref().unwrap_or("unknown"),
            self.client_addr.as_deref().unwrap_or("this machine"),
        )
    }
}
