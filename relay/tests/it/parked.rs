//! Parked events: what an operator sees and does, in each mode, and what keeps them parked.

use std::process::Output;

use diesel::prelude::*;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection as _};
use outbox::schema::outbox::dsl;
use relay::parked::PARKED_KEYS_MAX;
use serde_json::{Value, json};
use testkit::eventually;
use uuid::Uuid;

use crate::refused::large;
use crate::test_outbox::{Relay, TestOutbox, append_all, event, id};

impl TestOutbox {
    /// What `relay parked ARGUMENTS` answers: the real binary, told of the database only.
    pub(crate) async fn relay_parked(&self, arguments: &[&str]) -> Output {
        relay_parked(self.database.url(), arguments).await
    }

    /// Waits until so many events are parked and no replay is under way; answers what is listed.
    pub(crate) async fn parked_are(&self, count: usize) -> Vec<Value> {
        eventually(&format!("{count} events are parked"), async || {
            let output = self.relay_parked(&["list", "--json"]).await;
            let listed: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
            let replayed = |event: &Value| !event["replay_requested_at"].is_null();
            if listed.len() == count && !listed.iter().any(replayed) {
                Ok(listed)
            } else {
                Err(format!("{listed:?}"))
            }
        })
        .await
    }

    /// Asserts that this relay has been refused nothing, and that nothing is parked.
    pub(crate) async fn nothing_was_ever_parked(&self, relay: &Relay) {
        relay.measures("relay_refused_total 0").await;
        let parked = self.database.count("select count(*) from parked_events");
        assert_eq!(parked.await, 0);
    }

    /// Waits until nothing of a parking is left.
    async fn no_parking_is_left(&self) {
        eventually("no parking is left", async || {
            match self
                .database
                .count("select count(*) from parked_events")
                .await
            {
                0 => Ok(()),
                left => Err(left.to_string()),
            }
        })
        .await;
    }

    /// A relay of `mode` that refuses events above `bytes`.
    fn relay_up_to(&self, mode: &str, bytes: &str) -> Relay {
        self.relay(&[("RELAY_MODE", mode), ("MESSAGE_BYTES_MAX", bytes)])
    }

    /// Has key `a` parked, with one event behind it, by a relay that has published `a` and `b` before;
    /// answers that relay, the id of the parked event and the id behind it.
    async fn park(&self, mode: &str) -> (Relay, Uuid, Uuid) {
        let relay = self.relay_up_to(mode, "2000");
        let events = vec![
            event("a", json!({})),
            large("a", 3_000),
            event("b", json!({})),
            event("a", json!({ "last": true })),
        ];
        let (refused, behind) = (events[1].id, events[3].id);
        append_all(&mut self.database.connect().await, events).await;
        self.topic.take(2).await;
        self.parked_are(1).await;
        (relay, refused, behind)
    }
}

async fn relay_parked(database_url: &str, arguments: &[&str]) -> Output {
    let ended = tokio::process::Command::new(env!("CARGO_BIN_EXE_relay"))
        .arg("parked")
        .args(arguments)
        .env_clear()
        .env("DATABASE_URL", database_url)
        .kill_on_drop(true)
        .output();
    tokio::time::timeout(testkit::DEADLINE, ended)
        .await
        .expect("the command ends")
        .unwrap()
}

#[tokio::test]
async fn an_operator_sees_what_is_parked_and_why() {
    let test = TestOutbox::new().await;
    let (relay, refused, _) = test.park("poller").await;
    relay.measures("relay_parked_events 1").await;
    relay.is_ready().await;

    let listed = test.parked_are(1).await;
    for (field, expected) in [
        ("key", json!("a")),
        ("event_id", json!(refused)),
        ("event_type", json!("BillPaymentRequested")),
        ("tries", json!(1)),
        ("waiting", json!(1)),
    ] {
        assert_eq!(listed[0][field], expected, "{field}");
    }
    let reason = listed[0]["reason"].as_str().unwrap();
    assert!(reason.contains("Message size too large"), "{reason}");

    let table = text(&test.relay_parked(&["list"]).await);
    let [head, row] = table.lines().collect::<Vec<_>>()[..] else {
        panic!("{table}");
    };
    assert!(head.starts_with("SEQ  KEY  EVENT ID"), "{head}");
    assert!(
        row.contains(&refused.to_string()) && row.ends_with(reason),
        "{row}"
    );

    for name in ["a", &refused.to_string()] {
        let page = text(&test.relay_parked(&["show", name]).await);
        for line in [
            "key                a",
            "waiting after it   1",
            "{\"noise\": \"",
        ] {
            assert!(page.contains(line), "{line}: {page}");
        }
    }
    let shown = test.relay_parked(&["show", "a", "--json"]).await;
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["traceparent"], crate::test_outbox::TRACEPARENT);
}

#[tokio::test]
async fn the_list_comes_in_pages_and_a_replay_is_of_one_key_or_of_all() {
    let test = TestOutbox::new().await;
    let _relay = test.relay_up_to("poller", "2000");
    let keys = ["c", "a", "b"];
    let events = keys.iter().map(|key| large(key, 3_000)).collect();
    append_all(&mut test.database.connect().await, events).await;
    test.parked_are(3).await;
    let mut after = "0".to_owned();
    for key in keys {
        let arguments = ["list", "--json", "--limit", "1", "--after", &after];
        let page = test.relay_parked(&arguments).await;
        let page: Vec<Value> = serde_json::from_slice(&page.stdout).unwrap();
        assert_eq!((page.len(), &page[0]["key"]), (1, &json!(key)));
        after = page[0]["seq"].to_string();
    }
    assert!(test.relay_parked(&["replay", "c"]).await.status.success());
    let tried = test.parked_are(3).await;
    let tries: Vec<&Value> = tried.iter().map(|event| &event["tries"]).collect();
    assert_eq!(tries, [&json!(2), &json!(1), &json!(1)]);
    let replayed = text(&test.relay_parked(&["replay", "--all"]).await);
    assert!(replayed.starts_with("3 to be retried"), "{replayed}");
    let tried = test.parked_are(3).await;
    let tries: Vec<&Value> = tried.iter().map(|event| &event["tries"]).collect();
    assert_eq!(tries, [&json!(3), &json!(2), &json!(2)]);
}

#[tokio::test]
async fn a_replay_publishes_the_event_and_those_behind_it_in_order() {
    replay("poller").await;
}

#[tokio::test]
async fn a_replay_publishes_the_event_and_those_behind_it_in_order_in_mode_cdc() {
    replay("cdc").await;
}

async fn replay(mode: &str) {
    let test = TestOutbox::new().await;
    let (relay, refused, behind) = test.park(mode).await;
    relay.process.kill_9();
    let relay = test.relay(&[("RELAY_MODE", mode)]);
    relay.is_ready().await;
    if mode == "cdc" {
        crate::slot::streams(&test).await;
    }
    let later = test.commit(&["a"]).await;

    let replayed = text(&test.relay_parked(&["replay", "a"]).await);
    assert!(replayed.starts_with("1 to be retried"), "{replayed}");
    let published: Vec<Uuid> = test.topic.take(3).await.iter().map(id).collect();
    assert_eq!(published, [refused, behind, later[0]]);
    test.pending_is(&[]).await;
    test.no_parking_is_left().await;
    relay.measures("relay_parked_events 0").await;
    let last = test.commit(&["a"]).await;
    assert_eq!(id(&test.topic.next().await), last[0]);
}

#[tokio::test]
async fn a_replay_that_is_refused_again_is_parked_again() {
    replay_in_vain("poller").await;
}

#[tokio::test]
async fn a_replay_that_is_refused_again_is_parked_again_in_mode_cdc() {
    replay_in_vain("cdc").await;
}

async fn replay_in_vain(mode: &str) {
    let test = TestOutbox::new().await;
    let (relay, refused, _) = test.park(mode).await;
    let first = test.parked_are(1).await;
    for tries in [2, 3] {
        assert!(test.relay_parked(&["replay", "a"]).await.status.success());
        let parked = test.parked_are(1).await;
        assert_eq!(parked[0]["tries"], tries);
        assert_eq!(parked[0]["event_id"], json!(refused));
        assert_eq!(parked[0]["parked_at"], first[0]["parked_at"]);
    }
    relay.measures("relay_refused_total 3").await;
    assert_eq!(test.pending().await, ["a", "a"]);
    // Nor was the one behind it published meanwhile.
    let next = test.commit(&["b"]).await;
    assert_eq!(id(&test.topic.next().await), next[0]);
}

#[tokio::test]
async fn the_next_event_that_is_refused_takes_the_place_of_the_one_that_was_replayed() {
    let test = TestOutbox::new().await;
    let (relay, refused, behind) = test.park("poller").await;
    let next = large("a", 6_000);
    let next_id = next.id;
    append_all(&mut test.database.connect().await, vec![next]).await;
    assert!(test.relay_parked(&["replay", "a"]).await.status.success());
    assert_eq!(test.parked_are(1).await[0]["tries"], 2);
    drop(relay);

    let _relay = test.relay_up_to("poller", "5000");
    assert!(test.relay_parked(&["replay", "a"]).await.status.success());
    let published: Vec<Uuid> = test.topic.take(2).await.iter().map(id).collect();
    assert_eq!(published, [refused, behind]);
    test.pending_is(&["a"]).await;
    let parked = test.parked_are(1).await;
    assert_eq!(
        (&parked[0]["event_id"], &parked[0]["tries"]),
        (&json!(next_id), &json!(1))
    );
}

#[tokio::test]
async fn a_relay_that_comes_after_a_crash_leaves_it_parked() {
    restart("poller", "poller").await;
}

#[tokio::test]
async fn a_relay_that_comes_after_a_crash_leaves_it_parked_in_mode_cdc() {
    restart("cdc", "cdc").await;
}

#[tokio::test]
async fn a_relay_of_another_mode_leaves_it_parked() {
    restart("poller", "cdc").await;
    restart("cdc", "poller").await;
}

async fn restart(mode: &str, next_mode: &str) {
    let test = TestOutbox::new().await;
    let (relay, _, _) = test.park(mode).await;
    relay.process.kill_9();
    // In the first rows that the next relay reads, as those of "a" would be.
    let committed = test.commit(&["b", "a"]).await;
    // It would take the event by now.
    let relay = test.relay(&[("RELAY_MODE", next_mode)]);
    assert_eq!(id(&test.topic.next().await), committed[0]);
    relay.is_ready().await;
    if next_mode == "cdc" {
        crate::slot::streams(&test).await;
    }
    let committed = test.commit(&["a", "b"]).await;
    assert_eq!(id(&test.topic.next().await), committed[1]);
    test.pending_is(&["a", "a", "a", "a"]).await;
    relay.measures("relay_refused_total 0").await;
    let parked = test.parked_are(1).await;
    assert_eq!(
        (&parked[0]["tries"], &parked[0]["waiting"]),
        (&json!(1), &json!(3))
    );
}

#[tokio::test]
async fn a_parked_event_that_is_given_up_frees_its_key() {
    give_up("poller").await;
}

#[tokio::test]
async fn a_parked_event_that_is_given_up_frees_its_key_in_mode_cdc() {
    give_up("cdc").await;
}

async fn give_up(mode: &str) {
    let test = TestOutbox::new().await;
    let (_relay, refused, behind) = test.park(mode).await;
    let gone = diesel::delete(dsl::outbox.filter(dsl::id.eq(refused)));
    assert_eq!(
        gone.execute(&mut test.database.connect().await).await,
        Ok(1)
    );
    assert_eq!(id(&test.topic.next().await), behind);
    test.pending_is(&[]).await;
    test.no_parking_is_left().await;
}

#[tokio::test]
async fn when_too_many_are_parked_the_next_one_holds_up_its_key_all_the_same() {
    no_room("poller").await;
}

#[tokio::test]
async fn when_too_many_are_parked_the_next_one_holds_up_its_key_all_the_same_in_mode_cdc() {
    no_room("cdc").await;
}

async fn no_room(mode: &str) {
    let test = TestOutbox::new().await;
    let mut conn = test.database.connect().await;
    conn.batch_execute(&format!(
        "insert into outbox (id, aggregatetype, aggregateid, type, source, traceparent, payload) \
         select gen_random_uuid(), 'wallet', 'parked-' || number, 'T', 's', '', '{{}}' \
         from generate_series(1, {PARKED_KEYS_MAX}) as number; \
         insert into parked_events (aggregateid, seq, reason) select aggregateid, seq, '' from outbox"
    ))
    .await
    .unwrap();
    let relay = test.relay_up_to(mode, "2000");
    relay.is_ready().await;
    relay.measures("relay_parked_events 10000").await;
    if mode == "cdc" {
        // A sweep may publish what the stream brings again.
        crate::slot::streams(&test).await;
    }
    let events = vec![
        event("b", json!({})),
        large("a", 3_000),
        event("a", json!({})),
    ];
    let (first, refused) = (events[0].id, events[1].id);
    append_all(&mut conn, events).await;
    assert_eq!(id(&test.topic.next().await), first);
    let committed = test.commit(&["a", "b"]).await;
    assert_eq!(id(&test.topic.next().await), committed[1]);

    let shown = test.relay_parked(&["show", "a"]).await;
    assert_eq!(shown.status.code(), Some(1), "{shown:?}");

    let make_room = "delete from outbox where aggregateid like 'parked-%'";
    conn.batch_execute(make_room).await.unwrap();
    let parked = test.parked_are(1).await;
    assert_eq!(
        (&parked[0]["event_id"], &parked[0]["waiting"]),
        (&json!(refused), &json!(2))
    );
    assert_eq!(test.pending().await, ["a", "a", "a"]);
}

#[tokio::test]
async fn a_command_that_can_not_be_done_says_why_and_fails() {
    let test = TestOutbox::new().await;
    let url = test.database.url();
    let away = "postgres://postgres@127.0.0.1:1/none";
    for (url, arguments, code, answer) in [
        (url, &["list"] as &[&str], 0, "Nothing is parked.\n"),
        (url, &["list", "--json"], 0, "[]\n"),
        (url, &["replay", "--all"], 0, "Nothing is parked.\n"),
        (url, &["replay", "a"], 1, "nothing is parked under \"a\""),
        (url, &["show", "a"], 1, "nothing is parked under \"a\""),
        (url, &["replay"], 2, "<KEY>"),
        (url, &["replay", "a", "--all"], 2, "cannot be used with"),
        (url, &["list", "--limit", "0"], 2, "--limit"),
        (away, &["list"], 1, "connecting to the database"),
    ] {
        let output = relay_parked(url, arguments).await;
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {output:?}"
        );
        if code == 0 {
            assert_eq!(text(&output), answer, "{arguments:?}");
        } else {
            let error = String::from_utf8(output.stderr).unwrap();
            assert!(error.contains(answer), "{arguments:?}: {error}");
        }
    }
}

/// What a command that succeeded has printed.
fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}
