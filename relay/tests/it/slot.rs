//! The replication slot of modes cdc and debezium: what both promise of it, what it is like, getting in its way.

use diesel::prelude::*;
use diesel::sql_types::{Bool, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection as _};
use testkit::eventually;

use crate::order::Load;
use crate::test_outbox::{Relay, TestOutbox};

impl TestOutbox {
    /// A relay of `mode` whose slot is being read: what was there before is through.
    pub(crate) async fn streaming(&self, mode: &str) -> Relay {
        let relay = self.relay(&[("RELAY_MODE", mode)]);
        relay.is_ready().await;
        streams(self).await;
        relay
    }
}

pub(crate) async fn an_idle_outbox_holds_no_log(test: &TestOutbox, mode: &str) {
    let _relay = test.streaming(mode).await;
    let mut conn = test.database.connect().await;
    conn.batch_execute(
        "create table other as select number, repeat('x', 1000) from generate_series(1, 10000) as number",
    )
    .await
    .unwrap();
    is_confirmed_to_the_end_of_the_log(&mut conn).await;
}

pub(crate) async fn a_slot_that_is_dropped_under_load_is_made_anew(test: &TestOutbox, mode: &str) {
    let _relay = test.streaming(mode).await;
    let load = Load::begin(test).await;
    let seen = test.topic.take(300).await;
    drop_slot(&mut test.database.connect().await).await;
    load.comes_in_order(test, seen, 2_000).await;
    streams(test).await;
}

pub(crate) async fn a_slot_is_made_with_failover_from_postgresql_17_on(
    test: &TestOutbox,
    mode: &str,
) {
    let _relay = test.streaming(mode).await;
    let slots = "select count(*) from pg_replication_slots as slot where database = current_database() \
         and coalesce((to_jsonb(slot) ->> 'failover')::bool, current_setting('server_version_num')::int < 170000)";
    assert_eq!(test.database.count(slots).await, 1);
}

/// Waits until the slot is being read.
pub(crate) async fn streams(test: &TestOutbox) {
    let mut conn = test.database.connect().await;
    eventually("the slot is active", async || {
        let slots: Vec<(String, bool)> = slots(&mut conn).await;
        match slots.as_slice() {
            [(_, true)] => Ok(()),
            _ => Err(format!("{slots:?}")),
        }
    })
    .await;
}

/// Whether the slot is being read.
pub(crate) async fn is_streaming(test: &TestOutbox) -> bool {
    matches!(
        slots(&mut test.database.connect().await).await.as_slice(),
        [(_, true)]
    )
}

/// The database's slots and whether they are being read.
pub(crate) async fn slots(conn: &mut AsyncPgConnection) -> Vec<(String, bool)> {
    #[derive(QueryableByName)]
    struct Slot {
        #[diesel(sql_type = Text)]
        slot_name: String,
        #[diesel(sql_type = Bool)]
        active: bool,
    }
    let slots: Vec<Slot> = diesel::sql_query(
        // A slot is active too while it is being made.
        "select slot_name::text, \
             exists (select from pg_stat_replication where pid = active_pid) as active \
         from pg_replication_slots where database = current_database()",
    )
    .load(conn)
    .await
    .unwrap();
    slots
        .into_iter()
        .map(|slot| (slot.slot_name, slot.active))
        .collect()
}

/// Waits until the slot is confirmed up to where the log is now.
pub(crate) async fn is_confirmed_to_the_end_of_the_log(conn: &mut AsyncPgConnection) {
    conn.batch_execute("create temporary table log_end as select pg_current_wal_lsn() as lsn")
        .await
        .unwrap();
    eventually("the slot is confirmed to the end of the log", async || {
        let confirmed: bool = diesel::select(diesel::dsl::sql::<Bool>(
            "exists (select from pg_replication_slots, log_end \
             where database = current_database() and confirmed_flush_lsn >= lsn)",
        ))
        .get_result(conn)
        .await
        .unwrap();
        if confirmed {
            Ok(())
        } else {
            Err("it is not".to_owned())
        }
    })
    .await;
}

/// Ends the walsender of the database's slot; answers whether there was one.
pub(crate) async fn terminate_stream(conn: &mut AsyncPgConnection) -> bool {
    let ended: Vec<bool> = diesel::select(diesel::dsl::sql::<Bool>(
        "pg_terminate_backend(active_pid) from pg_replication_slots \
         where database = current_database() and active",
    ))
    .load(conn)
    .await
    .unwrap();
    !ended.is_empty()
}

/// Ends whoever reads the slot, and drops it.
pub(crate) async fn drop_slot(conn: &mut AsyncPgConnection) {
    eventually("the slot is dropped", async || {
        terminate_stream(conn).await;
        let dropped = conn.batch_execute(
            "select pg_drop_replication_slot(slot_name) from pg_replication_slots \
             where database = current_database()",
        );
        dropped.await.map_err(|error| error.to_string())
    })
    .await;
}
