//! Mode cdc on a PostgreSQL of its own: not set up for it, stopped under load, and one that has thrown the
//! log away.

use testkit::{PostgresServer, Stop, TopicReader, eventually, unique_prefix};

use crate::order::Load;
use crate::slot::streams;
use crate::test_outbox::{TestOutbox, id};

impl TestOutbox {
    /// An outbox on `server`.
    pub(crate) async fn on(server: &PostgresServer) -> Self {
        let prefix = unique_prefix();
        Self {
            database: server.database(vec![outbox::MIGRATIONS]).await,
            topic: TopicReader::create(&format!("{prefix}wallet.events"), 8).await,
            prefix,
        }
    }
}

#[tokio::test]
async fn a_server_without_logical_wal_is_told_what_to_set_and_relays_once_it_is() {
    let mut server = PostgresServer::start(&["wal_level = replica"]).await;
    let test = TestOutbox::on(&server).await;
    let relay = test.cdc();
    let committed = test.commit(&["a"]).await;
    let advice =
        "the server has wal_level=replica: alter system set wal_level = 'logical', and restart";
    relay.is_not_ready("progress", advice).await;
    assert_eq!(test.pending().await, ["a"]);

    server.set(&["wal_level = logical"]);
    server.restart(Stop::Fast).await;
    assert_eq!(id(&test.topic.next().await), committed[0]);
    relay.is_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_of_the_server_under_load_lose_nothing_and_keep_the_order() {
    let mut server = PostgresServer::start(&["wal_level = logical"]).await;
    let test = TestOutbox::on(&server).await;
    let relay = test.cdc();
    streams(&test).await;
    let load = Load::begin(&test).await;
    let mut seen = Vec::new();
    for how in [Stop::Fast, Stop::Immediate] {
        seen.extend(test.topic.take(300).await);
        server.restart(how).await;
        streams(&test).await;
    }
    load.comes_in_order(&test, seen, 2_000).await;
    relay.is_ready().await;
}

/// A server that keeps no more log for a slot than a checkpoint leaves.
async fn server_that_keeps_little_log() -> PostgresServer {
    PostgresServer::start(&["wal_level = logical", "max_slot_wal_keep_size = '1MB'"]).await
}

#[tokio::test]
async fn a_slot_lost_while_no_relay_runs_is_made_anew_and_nothing_is_missing() {
    let server = server_that_keeps_little_log().await;
    let test = TestOutbox::on(&server).await;
    let relay = test.cdc();
    streams(&test).await;
    relay.process.kill_9();
    let mut committed = test.commit(&["a", "a", "a"]).await;
    slot_is_lost(&test, &server).await;

    let _relay = test.cdc();
    let published: Vec<_> = test.topic.take(3).await.iter().map(id).collect();
    assert_eq!(published, committed);
    is_of_use(&test).await;
    committed = test.commit(&["a"]).await;
    assert_eq!(id(&test.topic.next().await), committed[0]);
}

#[tokio::test]
async fn a_slot_lost_under_a_relay_that_is_held_up_is_made_anew_and_nothing_is_missing() {
    let server = server_that_keeps_little_log().await;
    let test = TestOutbox::on(&server).await;
    let relay = test.cdc();
    streams(&test).await;
    let wait = test.deletes_wait().await;
    let mut committed = test.commit(&["a"]).await;
    assert_eq!(id(&test.topic.next().await), committed[0]);
    test.database.somebody_waits().await;
    committed = test.commit(&["a", "a"]).await;
    slot_is_lost(&test, &server).await;
    relay
        .measures("relay_slot_wal_status{status=\"lost\"} 1")
        .await;

    drop(wait);
    let published: Vec<_> = test.topic.take(2).await.iter().map(id).collect();
    assert_eq!(published, committed);
    test.pending_is(&[]).await;
    is_of_use(&test).await;
    committed = test.commit(&["a"]).await;
    assert_eq!(id(&test.topic.next().await), committed[0]);
}

/// Writes log until the server gives the slot up.
async fn slot_is_lost(test: &TestOutbox, server: &PostgresServer) {
    server.turn_the_log_over(8).await;
    let lost = "select count(*) from pg_replication_slots where wal_status = 'lost'";
    assert_eq!(test.database.count(lost).await, 1);
}

/// Waits until there is a slot again that is not lost, and it is being read.
async fn is_of_use(test: &TestOutbox) {
    let lost = "select count(*) from pg_replication_slots where wal_status = 'lost'";
    eventually("the slot is recreated", async || {
        match test.database.count(lost).await {
            0 => Ok(()),
            _ => Err("it is lost".to_owned()),
        }
    })
    .await;
    streams(test).await;
}
