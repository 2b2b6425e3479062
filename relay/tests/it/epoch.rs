//! The epoch of the outbox's numbers: the same while they run on, another one when they may begin again.

use diesel_async::SimpleAsyncConnection as _;
use relay::session::epoch;

use crate::test_outbox::TestOutbox;

#[tokio::test]
async fn the_epoch_changes_when_the_numbers_may_begin_again_and_only_then() {
    let test = TestOutbox::new().await;
    let first = test.epoch().await;
    assert_eq!(first.len(), 17);
    assert!(first.starts_with('e'), "{first}");
    test.commit(&["a"]).await;
    let mut conn = test.database.connect().await;
    for same in [
        "delete from outbox",
        "vacuum outbox",
        "checkpoint",
        "select pg_switch_wal()",
    ] {
        conn.batch_execute(same).await.unwrap();
    }
    assert_eq!(epoch(&mut conn).await.unwrap(), first);
    assert_ne!(
        TestOutbox::new().await.epoch().await,
        first,
        "another database"
    );

    let mut last = first;
    for change in [
        "truncate outbox",
        "truncate outbox restart identity",
        "alter table outbox alter column seq restart",
    ] {
        conn.batch_execute(change).await.unwrap();
        let next = epoch(&mut conn).await.unwrap();
        assert_ne!(next, last, "{change}");
        last = next;
    }
}

#[tokio::test]
async fn a_role_without_privileges_can_ask_for_the_epoch() {
    let test = TestOutbox::new().await;
    let mut conn = test.database.connect().await;
    let role = format!("role_{}", uuid::Uuid::now_v7().simple());
    let expected = test.epoch().await;
    conn.batch_execute(&format!(
        "create role {role}; grant select, delete on outbox to {role}; set role {role}"
    ))
    .await
    .unwrap();
    assert_eq!(epoch(&mut conn).await.unwrap(), expected);
    conn.batch_execute(&format!(
        "reset role; drop owned by {role}; drop role {role}"
    ))
    .await
    .unwrap();
}
