//! Mode debezium: a real Kafka Connect, whose connector the relay registers, watches and cleans up behind.

use diesel_async::{RunQueryDsl as _, SimpleAsyncConnection as _};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::{DEADLINE, TopicReader, connect_url, eventually, free_address};

use crate::order::Load;
use crate::slot::{drop_slot, slots, terminate_stream};
use crate::test_outbox::{Relay, TestOutbox, append_all, client, event, id, keys};

/// A test of mode debezium. Its connector is deleted at the end: Connect would keep it for ever.
pub(crate) struct Connected {
    pub(crate) test: TestOutbox,
}

impl Connected {
    pub(crate) async fn new() -> Self {
        Self {
            test: TestOutbox::new().await,
        }
    }

    pub(crate) fn relay(&self) -> Relay {
        self.test.relay(&[("RELAY_MODE", "debezium")])
    }

    /// A relay whose connector streams: the snapshot is through.
    async fn streaming(&self) -> Relay {
        self.test.streaming("debezium").await
    }

    pub(crate) fn connector(&self) -> String {
        let database = self.test.database.url().rsplit('/').next().unwrap();
        format!("{}outbox_debezium_{database}", self.test.prefix)
    }

    /// Asks Kafka Connect about the connector; answers the status and the body.
    async fn ask(&self, method: Method, path: &str) -> (u16, Value) {
        let url = format!("{}/connectors/{}{path}", connect_url(), self.connector());
        let answer = client().request(method, url).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or(Value::Null))
    }

    pub(crate) async fn has_connector(&self) -> bool {
        self.ask(Method::GET, "").await.0 == 200
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        let url = format!("{}/connectors/{}", connect_url(), self.connector());
        // A thread of its own: drop can't await, and the test's runtime may be going down.
        let deleted = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = { runtime }.enable_all().build().unwrap();
            runtime.block_on(eventually("the connector is deleted", async || {
                let deleted = client().delete(&url).send().await;
                match deleted.map(|answer| answer.status().as_u16()) {
                    Ok(204 | 404) => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            }));
        });
        assert!(
            deleted.join().is_ok() || std::thread::panicking(),
            "the connector was not deleted"
        );
    }
}

#[tokio::test]
async fn rows_that_are_there_and_rows_that_come_are_published_and_deleted() {
    let connected = Connected::new().await;
    crate::publishing::what_is_there_and_what_comes(&connected.test, "debezium").await;
}

#[tokio::test]
async fn rows_stay_until_kafka_has_them() {
    let connected = Connected::new().await;
    let test = &connected.test;
    let _relay = connected.streaming().await;
    // Its topic is not there yet.
    let mut bill = event("late", json!({}));
    bill.aggregate_type = "bill";
    append_all(&mut test.database.connect().await, vec![bill]).await;
    // Far enough for whoever believes that what was read is published.
    let mut conn = test.database.connect().await;
    conn.batch_execute("create table other as select generate_series(1, 10000)")
        .await
        .unwrap();
    looks_twice(test).await;
    assert_eq!(test.pending().await, ["late"]);

    let bills = TopicReader::create(&format!("{}bill.events", test.prefix), 1).await;
    assert_eq!(keys(&[bills.next().await]), ["late"]);
    test.pending_is(&[]).await;
}

#[tokio::test]
async fn a_slot_that_was_made_anew_does_not_count_as_published() {
    let connected = Connected::new().await;
    let test = &connected.test;
    let _relay = connected.streaming().await;
    let stopped = connected.ask(Method::PUT, "/stop").await;
    assert!(stopped.0 < 300, "{stopped:?}");
    let mut conn = test.database.connect().await;
    // A task that is still at it when its stream is cut would make the slot again.
    eventually("its stream has ended", async || {
        let slots = slots(&mut conn).await;
        match slots.as_slice() {
            [(_, false)] => Ok(()),
            _ => Err(format!("{slots:?}")),
        }
    })
    .await;
    drop_slot(&mut conn).await;
    let committed = test.commit(&["a"]).await;
    looks_twice(test).await;
    // As Debezium itself would: confirmed up to where it begins.
    conn.batch_execute(
        "select pg_create_logical_replication_slot('outbox_debezium_' || current_database(), 'pgoutput')",
    )
    .await
    .unwrap();
    looks_twice(test).await;
    assert_eq!(test.pending().await, ["a"]);

    let resumed = connected.ask(Method::PUT, "/resume").await;
    assert!(resumed.0 < 300, "{resumed:?}");
    assert_eq!(id(&test.topic.next().await), committed[0]);
    test.pending_is(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_is_dropped_under_load_is_made_anew_and_nothing_is_lost() {
    let connected = Connected::new().await;
    crate::slot::a_slot_that_is_dropped_under_load_is_made_anew(&connected.test, "debezium").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_key_are_first_seen_in_the_order_of_their_commits() {
    let connected = Connected::new().await;
    let test = &connected.test;
    let first = connected.streaming().await;
    let second = connected.relay();
    let load = Load::begin(test).await;
    let seen = test.topic.take(1_000).await;
    // The one that works dies, the one that stands by takes over, another comes.
    first.process.kill_9();
    second.measures("relay_active 1").await;
    let third = connected.relay();
    load.comes_in_order(test, seen, 2_000).await;
    third.measures("relay_active 0").await;
}

#[tokio::test]
async fn a_connector_that_is_gone_is_registered_again() {
    let connected = Connected::new().await;
    let _relay = connected.streaming().await;
    assert_eq!(connected.ask(Method::DELETE, "").await.0, 204);
    eventually("the connector is back", async || {
        match connected.has_connector().await {
            true => Ok(()),
            false => Err("it is not".to_owned()),
        }
    })
    .await;
    let committed = connected.test.commit(&["a"]).await;
    assert_eq!(id(&connected.test.topic.next().await), committed[0]);
    connected.test.pending_is(&[]).await;
}

#[tokio::test]
async fn a_connector_that_has_failed_is_started_again() {
    let connected = Connected::new().await;
    let test = &connected.test;
    let relay = connected.streaming().await;
    // It stops for good when its publication is gone.
    let mut conn = test.database.connect().await;
    conn.batch_execute("drop publication outbox_debezium")
        .await
        .unwrap();
    eventually("its stream is ended", async || {
        match terminate_stream(&mut conn).await {
            true => Ok(()),
            false => Err("it had none".to_owned()),
        }
    })
    .await;
    relay
        .is_not_ready("progress", "the connector has failed: ")
        .await;
    relay.counts("relay_connector_restarts_total").await;
    let committed = test.commit(&["a"]).await;
    assert_eq!(id(&test.topic.next().await), committed[0]);
    test.pending_is(&[]).await;
    relay.is_ready().await;
}

#[tokio::test]
async fn rows_that_an_altered_publication_leaves_out_are_not_deleted_but_published() {
    let connected = Connected::new().await;
    let test = &connected.test;
    let relay = connected.streaming().await;
    let mut committed = test.commit(&["a"]).await;
    assert_eq!(id(&test.topic.next().await), committed[0]);
    test.pending_is(&[]).await;
    // Taken back before anybody looks.
    let mut conn = test.database.connect().await;
    for alteration in ["drop table outbox", "add table outbox"] {
        let alter = format!("alter publication outbox_debezium {alteration}");
        conn.batch_execute(&alter).await.unwrap();
        committed.extend(test.commit(&["a"]).await);
    }
    let mut published = Vec::new();
    while published.len() < 2 {
        let next = id(&test.topic.next().await);
        // The last one may come by the stream, and again by the snapshot.
        if next == committed[1] || (next == committed[2] && published.contains(&committed[1])) {
            published.push(next);
        }
    }
    assert_eq!(published, committed[1..]);
    test.pending_is(&[]).await;
    relay.is_ready().await;
}

#[tokio::test]
async fn a_connector_that_somebody_has_paused_is_left_alone_and_the_relay_says_so() {
    let connected = Connected::new().await;
    let relay = connected.streaming().await;
    connected.ask(Method::PUT, "/pause").await;
    let advice = format!("PAUSED: PUT /connectors/{}/resume", connected.connector());
    relay.is_not_ready("progress", &advice).await;
    connected.ask(Method::PUT, "/resume").await;
    relay.is_ready().await;
}

#[tokio::test]
async fn an_event_that_kafka_refuses_stops_the_connector_and_the_relay_says_what_to_do() {
    let connected = Connected::new().await;
    let test = &connected.test;
    let large = event("a", json!({ "noise": "x".repeat(3_000) }));
    append_all(&mut test.database.connect().await, vec![large]).await;
    // A mode that can park has parked it.
    let poller = test.relay(&[("MESSAGE_BYTES_MAX", "2000")]);
    poller.measures("relay_parked_events 1").await;
    drop(poller);
    let settings = [("RELAY_MODE", "debezium"), ("MESSAGE_BYTES_MAX", "2000")];
    let relay = test.relay(&settings);
    relay
        .is_not_ready("progress", "RecordTooLargeException")
        .await;
    relay
        .is_not_ready("progress", "raise MESSAGE_BYTES_MAX")
        .await;
    assert_eq!(test.pending().await, ["a"]);

    // The operator raises it: the connector gets another configuration.
    drop(relay);
    let relay = connected.relay();
    assert_eq!(keys(&[test.topic.next().await]), ["a"]);
    test.pending_is(&[]).await;
    relay.is_ready().await;
    relay.measures("relay_parked_events 0").await;
}

#[tokio::test]
async fn a_slot_is_made_with_failover_from_postgresql_17_on() {
    let connected = Connected::new().await;
    crate::slot::a_slot_is_made_with_failover_from_postgresql_17_on(&connected.test, "debezium")
        .await;
}

#[tokio::test]
async fn an_idle_outbox_holds_no_log_while_other_tables_are_written() {
    let connected = Connected::new().await;
    crate::slot::an_idle_outbox_holds_no_log(&connected.test, "debezium").await;
}

#[tokio::test]
async fn without_kafka_connect_the_relay_is_not_ready_and_loses_nothing() {
    let connected = Connected::new().await;
    let test = &connected.test;
    let address = free_address();
    let nobody = format!("http://user:secret@{address}");
    let settings = [("RELAY_MODE", "debezium"), ("CONNECT_URL", nobody.as_str())];
    let relay = test.relay(&settings);
    test.commit(&["a"]).await;
    relay
        .is_not_ready("progress", &format!("Kafka Connect at http://{address}"))
        .await;
    assert_eq!(test.pending().await, ["a"]);
    assert!(slots(&mut test.database.connect().await).await.is_empty());
}

#[tokio::test]
async fn the_connector_can_be_shown_and_deleted_by_command_but_not_under_a_relay() {
    let connected = Connected::new().await;
    let test = &connected.test;
    let (shown, text) = command(test, "show").await;
    assert!(
        !shown && text.contains("Kafka Connect has no connector"),
        "{text}"
    );

    let relay = connected.streaming().await;
    // Debezium opens its stream twice before it streams.
    eventually("the connector is shown", async || {
        let (shown, text) = command(test, "show").await;
        let lines = [
            "state: RUNNING",
            "task 0: RUNNING",
            ": read, reserved, ",
            "  database.password = ***",
        ];
        match lines.iter().find(|line| !text.contains(*line)) {
            None if shown => Ok(()),
            _ => Err(text),
        }
    })
    .await;
    let (deleted, text) = command(test, "delete").await;
    assert!(
        !deleted && text.contains("would register the connector again"),
        "{text}"
    );
    assert!(connected.has_connector().await);

    relay.process.terminate();
    assert!(relay.process.wait().success());
    let (deleted, text) = command(test, "delete").await;
    assert!(deleted, "{text}");
    assert_eq!(
        text,
        "connector: removed\npublication: removed\nslot: removed\n"
    );
    let mut conn = test.database.connect().await;
    assert!(slots(&mut conn).await.is_empty());
    assert!(!connected.has_connector().await);
}

/// Runs `relay connector`; answers whether it succeeded, and what it said.
async fn command(test: &TestOutbox, what: &str) -> (bool, String) {
    let ended = tokio::process::Command::new(env!("CARGO_BIN_EXE_relay"))
        .args(["connector", what])
        .env("DATABASE_URL", test.database.url())
        .env("CONNECT_URL", connect_url())
        .env("TOPIC_PREFIX", &test.prefix)
        .kill_on_drop(true)
        .output();
    let ended = tokio::time::timeout(DEADLINE, ended).await;
    let ended = ended.expect("the command ends").unwrap();
    let text = [ended.stdout, ended.stderr].concat();
    (ended.status.success(), String::from_utf8(text).unwrap())
}

/// Waits until the relay that works has looked at the slot twice more, which it does while there are rows: what
/// follows from the first time has happened.
async fn looks_twice(test: &TestOutbox) {
    let mut conn = test.database.connect().await;
    for _ in 0..2 {
        conn.batch_execute(
            "create temporary table if not exists looked as select now() as since; \
             update looked set since = clock_timestamp()",
        )
        .await
        .unwrap();
        eventually("the relay has looked at the slot", async || {
            // It is the one with locks: the gauges' session looks at the slot too.
            let looked = diesel::sql_query(
                "select from pg_stat_activity, looked \
                 where query like '%confirmed_flush_lsn%' and query_start > since \
                 and pid in (select pid from pg_locks where locktype = 'advisory' \
                     and database = (select oid from pg_database where datname = current_database()))",
            );
            match looked.execute(&mut conn).await.unwrap() {
                0 => Err("it has not".to_owned()),
                _ => Ok(()),
            }
        })
        .await;
    }
}
