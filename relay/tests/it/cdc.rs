//! Mode cdc: what comes by the table and what comes by the stream, crashes, refusals, standing by.

use diesel::prelude::*;
use diesel::sql_types::{Integer, Nullable};
use diesel_async::RunQueryDsl;
use outbox::schema::outbox::dsl;
use serde_json::json;

use crate::slot::{is_confirmed_to_the_end_of_the_log, streams};
use crate::test_outbox::{Relay, TestOutbox, append_all, event, id, keys};

impl TestOutbox {
    /// A relay of mode cdc.
    pub(crate) fn cdc(&self) -> Relay {
        self.relay(&[("RELAY_MODE", "cdc")])
    }
}

#[tokio::test]
async fn rows_that_are_there_and_rows_that_come_are_published_once_and_deleted() {
    crate::publishing::what_is_there_and_what_comes(&TestOutbox::new().await, "cdc").await;
}

#[tokio::test]
async fn what_a_sweep_has_published_does_not_come_again_by_the_stream() {
    let test = TestOutbox::new().await;
    let relay = test.cdc();
    streams(&test).await;
    relay.process.kill_9();
    // They are in the table, and in the log behind the slot.
    test.commit(&["a"; 50]).await;
    let _relay = test.cdc();
    test.topic.take(50).await;
    test.pending_is(&[]).await;
    streams(&test).await;
    let last = test.commit(&["a"]).await;
    assert_eq!(id(&test.topic.next().await), last[0]);
}

#[tokio::test]
async fn a_crash_between_publish_and_delete_repeats_the_event_with_the_same_id() {
    let test = TestOutbox::new().await;
    let relay = test.cdc();
    streams(&test).await;
    let wait = test.deletes_wait().await;
    let committed = test.commit(&["a"]).await;
    assert_eq!(id(&test.topic.next().await), committed[0]);
    relay.process.kill_9();
    test.sessions_are_gone().await;
    drop(wait);
    assert_eq!(test.pending().await, ["a"]);

    let _relay = test.cdc();
    assert_eq!(id(&test.topic.next().await), committed[0]);
    test.pending_is(&[]).await;
}

#[tokio::test]
async fn a_refused_event_holds_up_its_key_only_and_not_the_slot() {
    let test = TestOutbox::new().await;
    let _relay = test.relay(&[("RELAY_MODE", "cdc"), ("MESSAGE_BYTES_MAX", "2000")]);
    streams(&test).await;
    let large = json!({ "noise": "x".repeat(3_000) });
    let events = vec![
        event("a", json!({})),
        event("a", large),
        event("b", json!({})),
        event("a", json!({})),
        event("b", json!({})),
    ];
    let (refused, behind) = (events[1].id, events[3].id);
    let mut conn = test.database.connect().await;
    append_all(&mut conn, events).await;
    let mut published = keys(&test.topic.take(3).await).join("");
    let later = test.commit(&["a", "b"]).await;
    assert_eq!(id(&test.topic.next().await), later[1]);
    test.pending_is(&["a", "a", "a"]).await;
    published.truncate(3);
    assert!(
        ["abb", "bab", "bba"].contains(&published.as_str()),
        "{published}"
    );
    is_confirmed_to_the_end_of_the_log(&mut conn).await;

    // The operator gives it up.
    let gone = diesel::delete(dsl::outbox.filter(dsl::id.eq(refused)));
    assert_eq!(gone.execute(&mut conn).await, Ok(1));
    assert_eq!(id(&test.topic.next().await), behind);
    assert_eq!(id(&test.topic.next().await), later[0]);
    test.pending_is(&[]).await;
    let last = test.commit(&["a"]).await;
    assert_eq!(id(&test.topic.next().await), last[0]);
}

#[tokio::test]
async fn a_second_relay_stands_by_and_takes_over_when_the_first_is_killed() {
    let test = TestOutbox::new().await;
    let first = test.cdc();
    first.measures("relay_active 1").await;
    streams(&test).await;
    let second = test.cdc();
    second.is_ready().await;
    second.measures("relay_active 0").await;
    let stream = stream_of(&test).await;
    for _ in 0..20 {
        test.commit(&["a"]).await;
        test.topic.next().await;
    }
    first.measures("relay_active 1").await;
    assert_eq!(stream_of(&test).await, stream, "nobody interfered");

    first.process.kill_9();
    let committed = test.commit(&["a"]).await;
    assert_eq!(id(&test.topic.next().await), committed[0]);
    second.measures("relay_active 1").await;
    test.pending_is(&[]).await;
}

/// A sweep may last for minutes, and the stream opens after it. Here a transaction keeps it from ending.
#[tokio::test]
async fn a_relay_is_ready_while_its_first_sweep_lasts() {
    let test = TestOutbox::new().await;
    // Making the slot would wait for the transaction.
    let first = test.cdc();
    streams(&test).await;
    first.process.kill_9();
    test.sessions_are_gone().await;
    let running = test
        .database
        .in_the_way("select pg_current_xact_id()")
        .await;
    let committed = test.commit(&["a"]).await;
    let relay = test.cdc();
    assert_eq!(id(&test.topic.next().await), committed[0]);
    relay.is_ready().await;
    assert_eq!(stream_of(&test).await, None, "it sweeps");
    running.clear().await;
    streams(&test).await;
}

/// The process that reads the slot.
async fn stream_of(test: &TestOutbox) -> Option<i32> {
    let mut conn = test.database.connect().await;
    diesel::select(diesel::dsl::sql::<Nullable<Integer>>(
        "active_pid from pg_replication_slots where database = current_database()",
    ))
    .get_result(&mut conn)
    .await
    .unwrap()
}
