//! Crashes and lost connections: published again, never lost.

use diesel::sql_types::Bool;
use diesel_async::{AsyncConnection as _, RunQueryDsl as _};

use crate::test_outbox::{TestOutbox, id};

#[tokio::test]
async fn a_crash_after_publish_repeats_the_event_with_the_same_id() {
    let test = TestOutbox::new().await;
    let committed = test.commit(&["a"]).await;
    let wait = test.deletes_wait().await;
    let relay = test.relay(&[]);
    assert_eq!(id(&test.topic.next().await), committed[0]);
    relay.process.kill_9();
    // Its delete would go through as soon as it need not wait.
    test.sessions_are_gone().await;
    drop(wait);
    assert_eq!(test.pending().await, ["a"]);

    let _relay = test.relay(&[]);
    assert_eq!(id(&test.topic.next().await), committed[0]);
    test.pending_is(&[]).await;
}

#[tokio::test]
async fn a_lost_database_connection_is_replaced() {
    let test = TestOutbox::new().await;
    let relay = test.relay(&[]);
    let first = test.commit(&["a"]).await;
    assert_eq!(id(&test.topic.next().await), first[0]);

    let ended: Vec<bool> = diesel::select(diesel::dsl::sql::<Bool>(
        "pg_terminate_backend(pid) from pg_stat_activity \
         where application_name = 'relay' and datname = current_database()",
    ))
    .load(&mut test.database.connect().await)
    .await
    .unwrap();
    assert!(!ended.is_empty());

    let second = test.commit(&["a"]).await;
    assert_eq!(id(&test.topic.next().await), second[0]);
    test.pending_is(&[]).await;
    relay.is_ready().await;
}

#[tokio::test]
async fn an_event_that_commits_late_is_not_skipped() {
    let test = TestOutbox::new().await;
    let _relay = test.relay(&[]);
    let mut late = test.database.connect().await;
    // Two keys of one shard: 'a' gets the smaller seq and commits after 'b' is published and gone.
    let keys: Vec<String> = diesel::select(diesel::dsl::sql::<diesel::sql_types::Text>(
        "key::text from generate_series(1, 1000) as key \
         where hashtextextended(key::text, 0) & 63 = 7 limit 2",
    ))
    .load(&mut late)
    .await
    .unwrap();
    late.begin_test_transaction().await.unwrap();
    let event = crate::test_outbox::event(&keys[0], serde_json::json!({}));
    let late_id = event.id;
    outbox::append(&mut late, vec![event]).await.unwrap();

    let early = test.commit(&[&keys[1]]).await;
    assert_eq!(id(&test.topic.next().await), early[0]);
    test.pending_is(&[]).await;

    diesel::sql_query("commit")
        .execute(&mut late)
        .await
        .unwrap();
    assert_eq!(id(&test.topic.next().await), late_id);
    test.pending_is(&[]).await;
}
