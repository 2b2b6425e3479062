//! Changing the mode: at any moment, under load, also after a crash.

use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl as _;
use testkit::eventually;

use crate::debezium::Connected;
use crate::order::Load;
use crate::slot::slots;

#[tokio::test(flavor = "multi_thread")]
async fn switching_modes_under_load_loses_nothing_and_leaves_nothing() {
    let connected = Connected::new().await;
    let test = &connected.test;
    let load = Load::begin(test).await;
    let mut relay = test.relay(&[("RELAY_MODE", "poller")]);
    let mut seen = test.topic.take(500).await;
    for (mode, old_is_killed) in [
        ("cdc", false),
        ("debezium", false),
        ("poller", false),
        ("debezium", true),
        ("cdc", true),
        ("poller", true),
    ] {
        let next = test.relay(&[("RELAY_MODE", mode)]);
        // Both are running: the second waits and says for whom.
        next.is_not_ready("progress", "waiting: mode").await;
        if old_is_killed {
            relay.process.kill_9();
        } else {
            relay.process.terminate();
            assert!(relay.process.wait().success());
        }
        next.is_ready().await;
        seen.extend(test.topic.take(500).await);
        relay = next;
    }
    load.comes_in_order(test, seen, 4_000).await;
    nothing_is_left(&connected).await;
}

#[tokio::test]
async fn the_poller_removes_what_killed_relays_of_other_modes_left() {
    let connected = Connected::new().await;
    let test = &connected.test;
    for mode in ["cdc", "debezium"] {
        let relay = test.relay(&[("RELAY_MODE", mode)]);
        crate::slot::streams(test).await;
        relay.process.kill_9();
        let _poller = test.relay(&[]);
        nothing_is_left(&connected).await;
    }
}

/// No slot, no publication and no connector.
async fn nothing_is_left(connected: &Connected) {
    let mut conn = connected.test.database.connect().await;
    eventually("nothing is left of another mode", async || {
        let slots = slots(&mut conn).await;
        let publications: i64 =
            diesel::select(diesel::dsl::sql::<BigInt>("count(*) from pg_publication"))
                .get_result(&mut conn)
                .await
                .unwrap();
        let connector = connected.has_connector().await;
        if slots.is_empty() && publications == 0 && !connector {
            Ok(())
        } else {
            Err(format!(
                "{slots:?}, {publications} publications, connector: {connector}"
            ))
        }
    })
    .await;
}
