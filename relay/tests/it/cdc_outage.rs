//! Mode cdc while the broker is away for long: PostgreSQL can be stopped, and nothing is lost.

use std::collections::HashSet;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use testkit::{PostgresServer, Stop, eventually};

use crate::slot::{is_streaming, streams};
use crate::test_outbox::{TestOutbox, id};

#[tokio::test(flavor = "multi_thread")]
async fn while_the_broker_is_away_for_long_postgresql_can_be_stopped_and_nothing_is_lost() {
    let mut server = PostgresServer::start(&["wal_level = logical"]).await;
    let test = TestOutbox::on(&server).await;
    let broker: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
    let topic = format!("{}wallet.events", test.prefix);
    broker.create_topic(&topic, 1, 1).unwrap();
    let relay = test.relay(&[
        ("RELAY_MODE", "cdc"),
        ("KAFKA_BROKERS", &broker.bootstrap_servers()),
        ("KAFKA_AWAY_MS_MAX", "1000"),
    ]);
    streams(&test).await;
    let mut committed = test.commit(&["a"]).await;
    test.pending_is(&[]).await;

    broker.broker_down(1).unwrap();
    committed.extend(test.commit(&["a"; 100]).await);
    eventually("the stream is closed", async || {
        if is_streaming(&test).await {
            Err("it is open".to_owned())
        } else {
            Ok(())
        }
    })
    .await;
    committed.extend(test.commit(&["a"; 100]).await);
    server.restart(Stop::Fast).await;
    committed.extend(test.commit(&["a"; 100]).await);
    assert_eq!(test.pending().await.len(), 300);

    broker.broker_up(1).unwrap();
    test.pending_is(&[]).await;
    streams(&test).await;
    relay.is_ready().await;
    let records = crate::outage::read(&broker.bootstrap_servers(), &topic);
    // What was in flight comes twice: the restart took the session that would have deleted it.
    let mut known = HashSet::new();
    let mut first_seen: Vec<_> = records.iter().map(id).collect();
    first_seen.retain(|id| known.insert(*id));
    assert_eq!(first_seen, committed);
}
