//! What is published and can't be deleted, and a database that takes nothing: the relay tries less and less often, and
//! does not publish again.

use diesel::sql_types::{BigInt, Bool};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection as _};
use testkit::eventually;

use crate::test_outbox::{TestOutbox, id};

/// Tries in the ten seconds that are watched: about ten. It was as many a second.
const TRIES_MAX: i64 = 25;

async fn count(conn: &mut AsyncPgConnection, what: &str) -> i64 {
    let count = diesel::select(diesel::dsl::sql::<BigInt>(what));
    count.get_result(conn).await.unwrap()
}

/// Waits until ten seconds of the database's clock have passed.
async fn watches(conn: &mut AsyncPgConnection) {
    conn.batch_execute("create temporary table began as select clock_timestamp() as at")
        .await
        .unwrap();
    eventually("ten seconds have passed", async || {
        let passed = diesel::select(diesel::dsl::sql::<Bool>(
            "clock_timestamp() - at > interval '10 s' from began",
        ));
        match passed.get_result(conn).await.unwrap() {
            true => Ok(()),
            false => Err("not yet".to_owned()),
        }
    })
    .await;
}

#[tokio::test]
async fn what_can_not_be_deleted_is_published_once_and_tried_less_and_less_often() {
    undeleted("poller").await;
}

#[tokio::test]
async fn what_can_not_be_deleted_is_published_once_and_tried_less_and_less_often_in_mode_cdc() {
    undeleted("cdc").await;
}

async fn undeleted(mode: &str) {
    let test = TestOutbox::new().await;
    let mut conn = test.database.connect().await;
    // A sequence counts what is rolled back, too.
    conn.batch_execute(
        "create sequence tries minvalue 0 start 0; select nextval('tries'); \
         create function refuse() returns trigger language plpgsql as \
             $$ begin perform nextval('tries'); raise 'not allowed'; end $$; \
         create trigger refuse before delete on outbox for each statement execute function refuse()",
    )
    .await
    .unwrap();
    let relay = test.relay(&[("RELAY_MODE", mode)]);
    relay.is_ready().await;
    let committed = test.commit(&["a", "b", "c", "d", "e"]).await;
    let mut published: Vec<_> = test.topic.take(5).await.iter().map(id).collect();
    published.sort();
    assert_eq!(published, committed);
    relay
        .is_not_ready("progress", "deleting what was published: not allowed")
        .await;
    watches(&mut conn).await;
    let tries = count(&mut conn, "last_value from tries").await;
    assert!((3..=TRIES_MAX).contains(&tries), "{tries}");
    relay
        .is_not_ready("progress", "deleting what was published: not allowed")
        .await;

    conn.batch_execute("drop trigger refuse on outbox")
        .await
        .unwrap();
    test.pending_is(&[]).await;
    relay.is_ready().await;
    let next = test.commit(&["a"]).await;
    assert_eq!(id(&test.topic.next().await), next[0], "none came twice");
}

#[tokio::test]
async fn a_database_that_is_read_only_is_not_flooded_with_connections() {
    for mode in ["poller", "cdc", "debezium"] {
        let test = TestOutbox::new().await;
        let mut conn = test.database.connect().await;
        let database = test.database.url().rsplit('/').next().unwrap();
        conn.batch_execute(&format!(
            "alter database {database} set default_transaction_read_only = on"
        ))
        .await
        .unwrap();
        let relay = test.relay(&[("RELAY_MODE", mode)]);
        relay
            .is_not_ready("progress", "in a read-only transaction")
            .await;
        let sessions = "sessions from pg_stat_database where datname = current_database()";
        let before = count(&mut conn, sessions).await;
        watches(&mut conn).await;
        let made = count(&mut conn, sessions).await - before;
        assert!((1..=TRIES_MAX).contains(&made), "{mode}: {made}");
    }
}
