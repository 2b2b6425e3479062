//! Mode cdc and a network that breaks between the relay and PostgreSQL.

use testkit::{Proxy, eventually};

use crate::order::Load;
use crate::slot::streams;
use crate::stage::{Relay, Stage, id};

/// What only a replication stream says when it connects.
const STREAM: &str = "replication";

/// A relay of mode cdc whose connections go through a proxy.
async fn relay_by_proxy(stage: &Stage) -> (Relay, Proxy) {
    let (_, server) = stage.database.url().rsplit_once('@').unwrap();
    let (server, _) = server.split_once('/').unwrap();
    let proxy = Proxy::to(server).await;
    let url = stage.database.url().replace(server, proxy.address());
    let relay = stage.relay(&[("RELAY_MODE", "cdc"), ("DATABASE_URL", &url)]);
    streams(stage).await;
    (relay, proxy)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_refuses_is_waited_out() {
    let stage = Stage::set().await;
    let (relay, proxy) = relay_by_proxy(&stage).await;
    proxy.refuse();
    let committed = stage.commit(&["a", "a"]).await;
    relay
        .is_not_ready("progress", "connecting to the database")
        .await;
    assert_eq!(stage.pending().await, ["a", "a"]);

    proxy.restore();
    let published: Vec<_> = stage.topic.take(2).await.iter().map(id).collect();
    assert_eq!(published, committed);
    relay.is_ready().await;
    streams(&stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn resets_under_load_lose_nothing_and_keep_the_order() {
    let stage = Stage::set().await;
    let (relay, proxy) = relay_by_proxy(&stage).await;
    let load = Load::begin(&stage).await;
    let mut seen = Vec::new();
    for word in [STREAM, "", STREAM, ""] {
        seen.extend(stage.topic.take(200).await);
        // What PostgreSQL shows as streaming may be a connection that ended here a moment ago.
        eventually("a connection is reset", async || match proxy.reset(word) {
            0 => Err("there is none".to_owned()),
            _ => Ok(()),
        })
        .await;
    }
    load.comes_in_order(&stage, seen, 2_000).await;
    relay.is_ready().await;
}

/// Takes the five seconds of silence after which the relay asks.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_half_open_is_noticed_and_opened_again() {
    let stage = Stage::set().await;
    let (relay, proxy) = relay_by_proxy(&stage).await;
    let load = Load::begin(&stage).await;
    let seen = stage.topic.take(200).await;
    assert_eq!(proxy.half_open(STREAM), 1);
    load.comes_in_order(&stage, seen, 500).await;
    streams(&stage).await;
    relay.is_ready().await;
}

/// Takes the 20 seconds that the database may be silent.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_all_half_open_are_given_up_and_made_anew() {
    let stage = Stage::set().await;
    let (relay, proxy) = relay_by_proxy(&stage).await;
    let load = Load::begin(&stage).await;
    let seen = stage.topic.take(200).await;
    assert!(proxy.half_open("") >= 2, "the stream and the session");
    load.comes_in_order(&stage, seen, 500).await;
    streams(&stage).await;
    relay.is_ready().await;
}
