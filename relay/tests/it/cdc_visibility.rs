//! Mode cdc and the moment in which a commit is in the log and not yet seen by SQL. A synchronous standby
//! that never comes makes that moment as long as the test wants.

use diesel_async::{
    AnsiTransactionManager as Transactions, AsyncPgConnection, SimpleAsyncConnection as _,
    TransactionManager as _,
};
use serde_json::json;
use testkit::{PostgresServer, eventually};
use tokio::task::JoinHandle;

use crate::slot::{is_confirmed_to_the_end_of_the_log, streams};
use crate::test_outbox::{TestOutbox, append_all, event, id};

/// A server on which a session's commits are not seen, if it says so, until somebody cancels its waiting.
async fn server() -> PostgresServer {
    PostgresServer::start(&[
        "wal_level = logical",
        "synchronous_standby_names = 'nobody'",
        "synchronous_commit = local",
    ])
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_published_before_sql_sees_it_is_deleted_and_then_confirmed() {
    let server = server().await;
    let test = TestOutbox::on(&server).await;
    let _relay = test.cdc();
    streams(&test).await;
    let commit = Unseen::commit(&test, "a").await;
    test.topic.next().await;
    relay_has_said(&test, &["delete from outbox %"]).await;
    assert_eq!(test.pending().await, [""; 0]);

    commit.appears(&test).await;
    is_confirmed_to_the_end_of_the_log(&mut test.database.connect().await).await;
    assert_eq!(test.pending().await, [""; 0]);
}

/// A new slot does not bring the transactions that committed before it was made; one of those that began
/// while it was being made may be seen only after the sweep.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_seen_after_the_first_sweep_and_not_in_the_stream_is_published() {
    let server = server().await;
    let test = TestOutbox::on(&server).await;
    let begins = "select pg_current_xact_id()";
    let first = test.database.in_the_way(begins).await;
    let _relay = test.cdc();
    test.database.somebody_waits().await;
    // The slot waits for the first, then for those that began meanwhile, but not for the third.
    let second = test.database.in_the_way(begins).await;
    first.clear().await;
    let waits_for_second = "select count(*) from pg_locks waits join pg_locks holds using (transactionid) \
         where not waits.granted and holds.granted and holds.mode = 'ExclusiveLock'";
    eventually("the slot waits for the second", async || {
        match test.database.count(waits_for_second).await {
            1 => Ok(()),
            waiting => Err(waiting.to_string()),
        }
    })
    .await;
    let third = Unseen::commit(&test, "a").await;
    second.clear().await;
    // It has looked into the table; one that takes this for a whole sweep goes on to the stream.
    relay_has_said(&test, &["commit", "START_REPLICATION %"]).await;

    let committed = third.appears(&test).await;
    assert_eq!(id(&test.topic.next().await), committed);
    test.pending_is(&[]).await;
}

/// An event that commits while a sweep is under way belongs to the sweep or to the stream, not to both.
#[tokio::test]
async fn an_event_that_commits_in_the_middle_of_a_sweep_is_published_once() {
    let test = TestOutbox::new().await;
    let _relay = test.relay(&[("RELAY_MODE", "cdc")]);
    streams(&test).await;
    // An event whose topic is missing waits, and the relay sweeps whenever it tries the event again.
    let waits = outbox::NewEvent {
        aggregate_type: "bill",
        ..event("waits", json!({}))
    };
    append_all(&mut test.database.connect().await, vec![waits]).await;

    let sweep_reads = "select count(*) from pg_stat_activity where application_name = 'relay' \
         and datname = current_database() and wait_event_type = 'Lock' and query like 'select seq, %'";
    let mut writer = test.database.connect().await;
    loop {
        Transactions::begin_transaction(&mut writer).await.unwrap();
        writer
            .batch_execute("lock table outbox in access exclusive mode")
            .await
            .unwrap();
        test.database.somebody_waits().await;
        if test.database.count(sweep_reads).await == 1 {
            break;
        }
        // Another query than that of a sweep.
        Transactions::rollback_transaction(&mut writer)
            .await
            .unwrap();
    }
    let during = event("during", json!({}));
    let during_id = during.id;
    outbox::append(&mut writer, vec![during]).await.unwrap();
    Transactions::commit_transaction(&mut writer).await.unwrap();
    test.pending_is(&["waits"]).await;
    let after = test.commit(&["during"]).await;
    assert_eq!(id(&test.topic.next().await), during_id);
    assert_eq!(id(&test.topic.next().await), after[0]);
}

/// A transaction that is committed in the log and not yet seen.
struct Unseen {
    id: uuid::Uuid,
    commit: JoinHandle<()>,
}

impl Unseen {
    async fn commit(test: &TestOutbox, key: &str) -> Self {
        let mut conn: AsyncPgConnection = test.database.connect().await;
        conn.batch_execute("set synchronous_commit = on")
            .await
            .unwrap();
        let event = event(key, json!({}));
        let id = event.id;
        #[expect(clippy::disallowed_methods, reason = "awaited by the test")]
        let commit = tokio::spawn(async move { append_all(&mut conn, vec![event]).await });
        let waiting = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'";
        eventually("the commit waits for the standby", async || {
            match test.database.count(waiting).await {
                1 => Ok(()),
                waiting => Err(waiting.to_string()),
            }
        })
        .await;
        Self { id, commit }
    }

    /// Ends its waiting; answers the event's id.
    async fn appears(self, test: &TestOutbox) -> uuid::Uuid {
        let cancel = "select count(pg_cancel_backend(pid)) from pg_stat_activity where wait_event = 'SyncRep'";
        assert_eq!(test.database.count(cancel).await, 1);
        self.commit.await.unwrap();
        self.id
    }
}

/// Waits until the last statement of one of the relay's sessions is like one of `patterns`, and has been
/// answered.
async fn relay_has_said(test: &TestOutbox, patterns: &[&str]) {
    let said = format!(
        "select count(*) from pg_stat_activity \
         where application_name = 'relay' and datname = current_database() \
         and (state = 'idle' or backend_type = 'walsender') and query like any (array['{}'])",
        patterns.join("', '")
    );
    eventually(
        &format!("the relay has said {patterns:?}"),
        async || match test.database.count(&said).await {
            0 => Err("it has not".to_owned()),
            _ => Ok(()),
        },
    )
    .await;
}
