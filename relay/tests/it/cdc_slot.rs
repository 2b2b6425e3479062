//! Mode cdc: the slot advances, is lost, is recreated; what the server must be like.

use diesel_async::SimpleAsyncConnection as _;
use uuid::Uuid;

use crate::slot::{is_confirmed_to_the_end_of_the_log, slots, streams, terminate_stream};
use crate::test_outbox::{TestOutbox, id};

#[tokio::test]
async fn a_slot_is_made_with_failover_from_postgresql_17_on() {
    crate::slot::a_slot_is_made_with_failover_from_postgresql_17_on(
        &TestOutbox::new().await,
        "cdc",
    )
    .await;
}

#[tokio::test]
async fn an_idle_outbox_holds_no_log_while_other_tables_are_written() {
    crate::slot::an_idle_outbox_holds_no_log(&TestOutbox::new().await, "cdc").await;
}

#[tokio::test]
async fn a_terminated_stream_is_opened_again() {
    let test = TestOutbox::new().await;
    let relay = test.cdc();
    streams(&test).await;
    let mut conn = test.database.connect().await;
    assert!(terminate_stream(&mut conn).await);
    let committed = test.commit(&["a"]).await;
    assert_eq!(id(&test.topic.next().await), committed[0]);
    test.pending_is(&[]).await;
    streams(&test).await;
    relay.is_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_is_dropped_under_load_is_made_anew_and_nothing_is_lost() {
    crate::slot::a_slot_that_is_dropped_under_load_is_made_anew(&TestOutbox::new().await, "cdc")
        .await;
}

#[tokio::test]
async fn a_publication_that_is_gone_is_made_anew_with_its_slot() {
    let test = TestOutbox::new().await;
    let relay = test.cdc();
    streams(&test).await;
    relay.process.kill_9();
    let mut conn = test.database.connect().await;
    conn.batch_execute("drop publication outbox_relay")
        .await
        .unwrap();
    let committed = test.commit(&["a"]).await;
    let _relay = test.cdc();
    assert_eq!(id(&test.topic.next().await), committed[0]);
    streams(&test).await;
    let committed = test.commit(&["a"]).await;
    assert_eq!(id(&test.topic.next().await), committed[0]);
    // Not by a sweep before a stream that fails again and again.
    is_confirmed_to_the_end_of_the_log(&mut conn).await;
}

#[tokio::test]
async fn a_role_that_may_not_replicate_is_told_what_to_do() {
    let test = TestOutbox::new().await;
    let mut conn = test.database.connect().await;
    let role = format!("role_{}", Uuid::now_v7().simple());
    conn.batch_execute(&format!("create role {role} login password 'secret'"))
        .await
        .unwrap();
    let url = test.database.url_as(&format!("{role}:secret"));
    let relay = test.relay(&[("RELAY_MODE", "cdc"), ("DATABASE_URL", &url)]);
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
    let test = TestOutbox::new().await;
    let relay = test.cdc();
    streams(&test).await;
    relay
        .measures("relay_slot_wal_status{status=\"reserved\"} 1")
        .await;
    relay
        .measures("relay_slot_wal_status{status=\"lost\"} 0")
        .await;
    relay.measures("relay_slot_lag_seconds 0").await;
}
