//! Which relay works on which shard.
//!
//! A relay works on the shards whose session advisory lock its connection holds, so that no two work on
//! one and a crash frees them. Who holds what is read from `pg_locks`; who should hold how many is
//! decided here, by value.

use std::collections::BTreeSet;

use diesel::QueryableByName;
use diesel::sql_types::{Array, Integer};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use outbox::statement;

use crate::mode_lock;
use crate::relay_mode::RelayMode;

/// Virtual shards: `outbox.shard` is 0 to 63.
pub const SHARDS: i32 = 64;

/// First half of the advisory lock keys of shards; the second is the shard. Any constant that nobody
/// else takes: "obxs".
pub const LOCK_CLASS: i32 = 0x6f62_7873;

/// How many shards the relay number `rank` (from zero) of `relays` should hold: all relays together
/// exactly all shards, and none more than one more than another.
#[must_use]
pub const fn fair_share(relays: i32, rank: i32) -> i32 {
    let relays = if relays < 1 { 1 } else { relays };
    let larger = SHARDS % relays;
    SHARDS / relays + if rank < larger { 1 } else { 0 }
}

/// An advisory lock: a relay's presence ([`mode_lock::LOCK_CLASS`]) or a shard ([`LOCK_CLASS`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, QueryableByName)]
pub struct Lock {
    /// First half of the key.
    #[diesel(sql_type = Integer)]
    pub class: i32,
    /// Second half of the key.
    #[diesel(sql_type = Integer)]
    pub number: i32,
    /// The session that holds it.
    #[diesel(sql_type = Integer)]
    pub pid: i32,
}

/// What a relay is to do for everybody to have a fair share.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Moves {
    /// Shards to keep.
    pub keep: Vec<i32>,
    /// Shards that others are waiting for.
    pub release: Vec<i32>,
    /// Free shards to try for.
    pub take: Vec<i32>,
}

/// Decides what the relay of session `me` is to do, given all locks of the database.
///
/// It looks for free shards from its own place in the round on, so that relays which start together
/// do not all try for the same ones.
#[must_use]
pub fn moves(locks: &[Lock], me: i32) -> Moves {
    let relays: BTreeSet<i32> = locks
        .iter()
        .filter(|lock| lock.class == mode_lock::LOCK_CLASS)
        .map(|lock| lock.pid)
        .collect();
    let count = i32::try_from(relays.len()).unwrap_or(i32::MAX);
    let rank = i32::try_from(relays.range(..me).count()).unwrap_or(i32::MAX);
    let share = usize::try_from(fair_share(count, rank)).unwrap_or(0);

    let shards = |mine: bool| {
        locks
            .iter()
            .filter(move |lock| lock.class == LOCK_CLASS && (lock.pid == me) == mine)
            .map(|lock| lock.number)
    };
    let mut keep: Vec<i32> = shards(true).collect();
    keep.sort_unstable();
    let release = keep.split_off(share.min(keep.len()));
    let taken: BTreeSet<i32> = shards(false).chain(shards(true)).collect();
    let start = rank.saturating_mul(SHARDS / count.max(1));
    let take = (0..SHARDS)
        .map(|step| (start + step) % SHARDS)
        .filter(|shard| !taken.contains(shard))
        .take(share.saturating_sub(keep.len()))
        .collect();
    Moves {
        keep,
        release,
        take,
    }
}

pub(crate) async fn session(conn: &mut AsyncPgConnection) -> diesel::QueryResult<i32> {
    #[derive(QueryableByName)]
    struct Session {
        #[diesel(sql_type = Integer)]
        pid: i32,
    }
    let session: Session = statement("select pg_backend_pid() as pid")
        .get_result(conn)
        .await?;
    Ok(session.pid)
}

/// Moves the shards held by `conn`, whose session is `me`, towards a fair share; returns those it holds
/// then. Only to be called while nothing of them is in flight.
///
/// # Errors
/// The database fails; the connection is not to be used further then.
pub(crate) async fn rebalance(
    conn: &mut AsyncPgConnection,
    me: i32,
) -> diesel::QueryResult<Vec<i32>> {
    let locks: Vec<Lock> = statement(
        "select classid::int as class, objid::int as number, pid from pg_locks \
         where locktype = 'advisory' and granted and objsubid = 2 \
         and database = (select oid from pg_database where datname = current_database()) \
         and (classid = $1::int::oid or (classid = $2::int::oid and objid = $3::int::oid))",
    )
    .bind::<Integer, _>(LOCK_CLASS)
    .bind::<Integer, _>(mode_lock::LOCK_CLASS)
    .bind::<Integer, _>(RelayMode::Poller.number())
    .load(conn)
    .await?;
    let moves = moves(&locks, me);
    if !moves.release.is_empty() {
        statement("select pg_advisory_unlock($1, shard) from unnest($2) as shard")
            .bind::<Integer, _>(LOCK_CLASS)
            .bind::<Array<Integer>, _>(&moves.release)
            .execute(conn)
            .await?;
    }
    let mut held = moves.keep;
    if !moves.take.is_empty() {
        let taken: Vec<Taken> = statement(
            "select shard from unnest($1) as shard where pg_try_advisory_lock($2, shard)",
        )
        .bind::<Array<Integer>, _>(&moves.take)
        .bind::<Integer, _>(LOCK_CLASS)
        .load(conn)
        .await?;
        held.extend(taken.iter().map(|taken| taken.shard));
    }
    Ok(held)
}

#[derive(QueryableByName)]
struct Taken {
    #[diesel(sql_type = Integer)]
    shard: i32,
}
