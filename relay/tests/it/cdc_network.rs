//! Mode cdc and a network that breaks between the relay and PostgreSQL.

use testkit::{Proxy, eventually};

use crate::order::Load;
use crate::slot::streams;
use crate::test_outbox::{Relay, TestOutbox, id};

/// What only a replication stream says when it connects.
const STREAM: &str = "replication";

/// A relay of mode cdc whose connections go through a proxy.
async fn relay_by_proxy(test: &TestOutbox) -> (Relay, Proxy) {
    let (_, server) = test.database.url().rsplit_once('@').unwrap();
    let (server, _) = server.split_once('/').unwrap();
    let proxy = Proxy::to(server).await;
    let url = test.database.url().replace(server, proxy.address());
    let relay = test.relay(&[("RELAY_MODE", "cdc"), ("DATABASE_URL", &url)]);
    streams(test).await;
    (relay, proxy)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_refuses_is_waited_out() {
    let test = TestOutbox::new().await;
    let (relay, proxy) = relay_by_proxy(&test).await;
    proxy.refuse();
    let committed = test.commit(&["a", "a"]).await;
    relay
        .is_not_ready("progress", "connecting to the database")
        .await;
    assert_eq!(test.pending().await, ["a", "a"]);

    proxy.restore();
    let published: Vec<_> = test.topic.take(2).await.iter().map(id).collect();
    assert_eq!(published, committed);
    relay.is_ready().await;
    streams(&test).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn resets_under_load_lose_nothing_and_keep_the_order() {
    let test = TestOutbox::new().await;
    let (relay, proxy) = relay_by_proxy(&test).await;
    let load = Load::begin(&test).await;
    let mut seen = Vec::new();
    for word in [STREAM, "", STREAM, ""] {
        seen.extend(test.topic.take(200).await);
        // What PostgreSQL shows as streaming may be a connection that ended here a moment ago.
        eventually("a connection is reset", async || match proxy.reset(word) {
            0 => Err("no connection of that kind".to_owned()),
            _ => Ok(()),
        })
        .await;
    }
    load.comes_in_order(&test, seen, 2_000).await;
    relay.is_ready().await;
}

/// Takes the five seconds of silence after which the relay asks.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_half_open_is_noticed_and_opened_again() {
    let test = TestOutbox::new().await;
    let (relay, proxy) = relay_by_proxy(&test).await;
    let load = Load::begin(&test).await;
    let seen = test.topic.take(200).await;
    assert_eq!(proxy.half_open(STREAM), 1);
    load.comes_in_order(&test, seen, 500).await;
    streams(&test).await;
    relay.is_ready().await;
}

/// Takes the 20 seconds that the database may be silent.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_all_half_open_are_given_up_and_made_anew() {
    let test = TestOutbox::new().await;
    let (relay, proxy) = relay_by_proxy(&test).await;
    let load = Load::begin(&test).await;
    let seen = test.topic.take(200).await;
    assert!(proxy.half_open("") >= 2, "the stream and the session");
    load.comes_in_order(&test, seen, 500).await;
    streams(&test).await;
    relay.is_ready().await;
}
