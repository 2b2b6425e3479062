//! Mode cdc: the slot advances, is lost, is made anew; what the server must be like.

use diesel::sql_types::Bool;
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use testkit::eventually;
use uuid::Uuid;

use crate::cdc::{slots, streams};
use crate::order::Load;
use crate::stage::{Stage, id};

#[tokio::test]
async fn an_idle_outbox_holds_no_log_while_other_tables_are_written() {
    let stage = Stage::set().await;
    let _relay = stage.cdc();
    streams(&stage).await;
    let mut conn = stage.database.connect().await;
    conn.batch_execute(
        "create table other as select number, repeat('x', 1000) from generate_series(1, 10000) as number",
    )
    .await
    .unwrap();
    is_confirmed_to_the_end_of_the_log(&mut conn).await;
}

#[tokio::test]
async fn a_terminated_stream_is_opened_again() {
    let stage = Stage::set().await;
    let relay = stage.cdc();
    streams(&stage).await;
    let mut conn = stage.database.connect().await;
    assert!(terminate_stream(&mut conn).await);
    let committed = stage.commit(&["a"]).await;
    assert_eq!(id(&stage.topic.next().await), committed[0]);
    stage.pending_is(&[]).await;
    streams(&stage).await;
    relay.is_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_is_dropped_under_load_is_made_anew_and_nothing_is_lost() {
    let stage = Stage::set().await;
    let _relay = stage.cdc();
    streams(&stage).await;
    let load = Load::begin(&stage).await;
    let seen = stage.topic.take(300).await;
    let mut conn = stage.database.connect().await;
    eventually("the slot is dropped", async || {
        terminate_stream(&mut conn).await;
        let dropped = conn.batch_execute(
            "select pg_drop_replication_slot(slot_name) from pg_replication_slots \
             where database = current_database()",
        );
        dropped.await.map_err(|error| error.to_string())
    })
    .await;
    load.comes_in_order(&stage, seen, 2_000).await;
    streams(&stage).await;
}

#[tokio::test]
async fn a_publication_that_is_gone_is_made_anew_with_its_slot() {
    let stage = Stage::set().await;
    let relay = stage.cdc();
    streams(&stage).await;
    relay.process.kill_9();
    let mut conn = stage.database.connect().await;
    conn.batch_execute("drop publication outbox_relay")
        .await
        .unwrap();
    let committed = stage.commit(&["a"]).await;
    let _relay = stage.cdc();
    assert_eq!(id(&stage.topic.next().await), committed[0]);
    streams(&stage).await;
    let committed = stage.commit(&["a"]).await;
    assert_eq!(id(&stage.topic.next().await), committed[0]);
    // Not by a sweep before a stream that fails again and again.
    is_confirmed_to_the_end_of_the_log(&mut conn).await;
}

#[tokio::test]
async fn a_role_that_may_not_replicate_is_told_what_to_do() {
    let stage = Stage::set().await;
    let mut conn = stage.database.connect().await;
    let role = format!("role_{}", Uuid::now_v7().simple());
    conn.batch_execute(&format!("create role {role} login"))
        .await
        .unwrap();
    let url = stage
        .database
        .url()
        .replacen("postgres@", &format!("{role}@"), 1);
    let relay = stage.relay(&[("RELAY_MODE", "cdc"), ("DATABASE_URL", &url)]);
    let advice = format!("alter role \"{role}\" replication");
    relay.is_not_ready("progress", &advice).await;
    assert!(slots(&mut conn).await.is_empty());
    drop(relay);
    conn.batch_execute(&format!("drop role {role}"))
        .await
        .unwrap();
}

#[tokio::test]
async fn the_gauges_tell_what_the_slot_holds() {
    let stage = Stage::set().await;
    let relay = stage.cdc();
    streams(&stage).await;
    relay
        .measures("relay_slot_wal_status{status=\"reserved\"} 1")
        .await;
    relay
        .measures("relay_slot_wal_status{status=\"lost\"} 0")
        .await;
    relay.measures("relay_slot_lag_seconds 0").await;
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
