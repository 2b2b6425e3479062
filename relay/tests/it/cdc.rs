//! Mode cdc: what comes by the table and what comes by the stream, crashes, refusals, standing by.

use std::collections::HashSet;

use diesel::prelude::*;
use diesel::sql_types::{Bool, Integer, Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection as _};
use outbox::schema::outbox::dsl;
use serde_json::json;
use testkit::eventually;
use uuid::Uuid;

use crate::stage::{Relay, Stage, append_all, event, id, keys};

impl Stage {
    /// A relay of mode cdc.
    pub(crate) fn cdc(&self) -> Relay {
        self.relay(&[("RELAY_MODE", "cdc")])
    }
}

#[tokio::test]
async fn rows_that_are_there_and_rows_that_come_are_published_once_and_deleted() {
    let stage = Stage::set().await;
    let mut committed = stage.commit(&["a", "a", "b"]).await;
    let relay = stage.cdc();
    let mut records = stage.topic.take(3).await;
    stage.pending_is(&[]).await;
    relay.is_ready().await;
    streams(&stage).await;
    for _ in 0..20 {
        committed.extend(stage.commit(&["a", "b"]).await);
    }
    stage.pending_is(&[]).await;
    records.extend(stage.topic.take(40).await);
    let published: HashSet<Uuid> = records.iter().map(id).collect();
    assert_eq!(published, committed.into_iter().collect());
}

#[tokio::test]
async fn what_a_sweep_has_published_does_not_come_again_by_the_stream() {
    let stage = Stage::set().await;
    let relay = stage.cdc();
    streams(&stage).await;
    relay.process.kill_9();
    // They are in the table, and in the log behind the slot.
    stage.commit(&["a"; 50]).await;
    let _relay = stage.cdc();
    stage.topic.take(50).await;
    stage.pending_is(&[]).await;
    streams(&stage).await;
    let last = stage.commit(&["a"]).await;
    assert_eq!(id(&stage.topic.next().await), last[0]);
}

#[tokio::test]
async fn a_crash_between_publish_and_delete_repeats_the_event_with_the_same_id() {
    let stage = Stage::set().await;
    let relay = stage.cdc();
    streams(&stage).await;
    let mut conn = stage.database.connect().await;
    conn.batch_execute(
        "create function wait() returns trigger language plpgsql as \
             $$ begin perform pg_advisory_xact_lock_shared(42); return null; end $$; \
         create trigger wait before delete on outbox execute function wait(); \
         select pg_advisory_lock(42)",
    )
    .await
    .unwrap();
    let committed = stage.commit(&["a"]).await;
    assert_eq!(id(&stage.topic.next().await), committed[0]);
    relay.process.kill_9();
    sessions_are_gone(&stage).await;
    drop(conn);
    assert_eq!(stage.pending().await, ["a"]);

    let _relay = stage.cdc();
    assert_eq!(id(&stage.topic.next().await), committed[0]);
    stage.pending_is(&[]).await;
}

#[tokio::test]
async fn a_refused_event_holds_up_its_key_only_and_not_the_slot() {
    let stage = Stage::set().await;
    let _relay = stage.relay(&[("RELAY_MODE", "cdc"), ("MESSAGE_BYTES_MAX", "2000")]);
    streams(&stage).await;
    let large = json!({ "noise": "x".repeat(3_000) });
    let events = vec![
        event("a", json!({})),
        event("a", large),
        event("b", json!({})),
        event("a", json!({})),
        event("b", json!({})),
    ];
    let (refused, behind) = (events[1].id, events[3].id);
    let mut conn = stage.database.connect().await;
    append_all(&mut conn, events).await;
    let mut published = keys(&stage.topic.take(3).await).join("");
    let later = stage.commit(&["a", "b"]).await;
    assert_eq!(id(&stage.topic.next().await), later[1]);
    stage.pending_is(&["a", "a", "a"]).await;
    published.truncate(3);
    assert!(
        ["abb", "bab", "bba"].contains(&published.as_str()),
        "{published}"
    );
    crate::cdc_slot::is_confirmed_to_the_end_of_the_log(&mut conn).await;

    // The operator gives it up.
    let gone = diesel::delete(dsl::outbox.filter(dsl::id.eq(refused)));
    assert_eq!(gone.execute(&mut conn).await, Ok(1));
    assert_eq!(id(&stage.topic.next().await), behind);
    assert_eq!(id(&stage.topic.next().await), later[0]);
    stage.pending_is(&[]).await;
    let last = stage.commit(&["a"]).await;
    assert_eq!(id(&stage.topic.next().await), last[0]);
}

#[tokio::test]
async fn a_second_relay_stands_by_and_takes_over_when_the_first_is_killed() {
    let stage = Stage::set().await;
    let first = stage.cdc();
    first.measures("relay_active 1").await;
    streams(&stage).await;
    let second = stage.cdc();
    second.is_ready().await;
    second.measures("relay_active 0").await;
    let stream = stream_of(&stage).await;
    for _ in 0..20 {
        stage.commit(&["a"]).await;
        stage.topic.next().await;
    }
    first.measures("relay_active 1").await;
    assert_eq!(stream_of(&stage).await, stream, "nobody interfered");

    first.process.kill_9();
    let committed = stage.commit(&["a"]).await;
    assert_eq!(id(&stage.topic.next().await), committed[0]);
    second.measures("relay_active 1").await;
    stage.pending_is(&[]).await;
}

/// The process that reads the slot.
async fn stream_of(stage: &Stage) -> Option<i32> {
    let mut conn = stage.database.connect().await;
    diesel::select(diesel::dsl::sql::<Nullable<Integer>>(
        "active_pid from pg_replication_slots where database = current_database()",
    ))
    .get_result(&mut conn)
    .await
    .unwrap()
}

/// Waits until the slot is being read.
pub(crate) async fn streams(stage: &Stage) {
    let mut conn = stage.database.connect().await;
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
pub(crate) async fn is_streaming(stage: &Stage) -> bool {
    matches!(
        slots(&mut stage.database.connect().await).await.as_slice(),
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

/// Waits until no relay has a session in the database.
async fn sessions_are_gone(stage: &Stage) {
    let mut conn = stage.database.connect().await;
    eventually("the dead relay's sessions have ended", async || {
        let sessions: i64 = diesel::select(diesel::dsl::sql::<diesel::sql_types::BigInt>(
            "count(*) from pg_stat_activity \
             where application_name = 'relay' and datname = current_database()",
        ))
        .get_result(&mut conn)
        .await
        .unwrap();
        if sessions == 0 {
            Ok(())
        } else {
            Err(sessions.to_string())
        }
    })
    .await;
}
