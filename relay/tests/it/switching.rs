//! Changing the mode: at any moment, under load, also after a crash.

use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl as _;
use testkit::eventually;

use crate::cdc::slots;
use crate::order::Load;
use crate::stage::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn switching_modes_under_load_loses_nothing_and_leaves_nothing() {
    let stage = Stage::set().await;
    let load = Load::begin(&stage).await;
    let mut relay = stage.relay(&[("RELAY_MODE", "poller")]);
    let mut seen = stage.topic.take(500).await;
    for (mode, old_is_killed) in [
        ("cdc", false),
        ("poller", false),
        ("cdc", true),
        ("poller", true),
    ] {
        let next = stage.relay(&[("RELAY_MODE", mode)]);
        // Both are running: the second waits and says for whom.
        next.is_not_ready("progress", "waiting: mode").await;
        if old_is_killed {
            relay.process.kill_9();
        } else {
            relay.process.terminate();
            assert!(relay.process.wait().success());
        }
        next.is_ready().await;
        seen.extend(stage.topic.take(500).await);
        relay = next;
    }
    load.comes_in_order(&stage, seen, 3_000).await;
    nothing_is_left_of_cdc(&stage).await;
}

#[tokio::test]
async fn the_poller_removes_what_a_killed_cdc_relay_left() {
    let stage = Stage::set().await;
    let cdc = stage.cdc();
    crate::cdc::streams(&stage).await;
    cdc.process.kill_9();
    let _poller = stage.relay(&[]);
    nothing_is_left_of_cdc(&stage).await;
}

async fn nothing_is_left_of_cdc(stage: &Stage) {
    let mut conn = stage.database.connect().await;
    eventually("no slot and no publication is left", async || {
        let slots = slots(&mut conn).await;
        let publications: i64 =
            diesel::select(diesel::dsl::sql::<BigInt>("count(*) from pg_publication"))
                .get_result(&mut conn)
                .await
                .unwrap();
        if slots.is_empty() && publications == 0 {
            Ok(())
        } else {
            Err(format!("{slots:?}, {publications} publications"))
        }
    })
    .await;
}
