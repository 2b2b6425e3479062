//! Failovers of PostgreSQL under load: the primary is killed, its synchronous standby promoted, and everybody finds it.
//! Nothing is lost, the order is kept, and only what was in flight comes twice.

use testkit::{PostgresServer, Stop, TopicReader, unique_prefix};

use crate::order::Load;
use crate::test_outbox::TestOutbox;

/// Events that may come twice: those of about two seconds. The relay does not wait for the disk after a delete.
const REPETITIONS_MAX: usize = 2_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_loses_nothing_and_keeps_the_order_in_mode_poller() {
    failover("poller", |_| {}).await;
}

async fn failover(mode: &str, check: impl FnOnce(&PostgresServer)) {
    let (mut primary, standby) = PostgresServer::start_with_standby(&["wal_level = logical"]).await;
    let prefix = unique_prefix();
    let test = TestOutbox {
        database: primary
            .database_with(&standby, vec![outbox::MIGRATIONS])
            .await,
        topic: TopicReader::create(&format!("{prefix}wallet.events"), 8).await,
        prefix,
    };
    let relay = test.relay(&[("RELAY_MODE", mode)]);
    relay.is_ready().await;
    let epoch = test.epoch().await;
    let load = Load::begin(&test).await;
    let mut seen = test.topic.take(500).await;

    primary.stop(Stop::Immediate).await;
    standby.promote().await;
    check(&standby);

    seen.extend(test.topic.take(500).await);
    let repetitions = load.comes_in_order(&test, seen, 2_000).await;
    assert!(repetitions < REPETITIONS_MAX, "{repetitions}");
    assert_ne!(test.epoch().await, epoch);
    relay.is_ready().await;
}
