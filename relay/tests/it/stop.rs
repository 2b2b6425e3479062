//! SIGTERM: what is in flight is finished or left for the next relay.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::stage::{Stage, id};

#[tokio::test]
async fn sigterm_under_load_loses_and_repeats_nothing() {
    let stage = Stage::set().await;
    let names: Vec<String> = (0..5_000).map(|number| number.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    stage.commit(&names).await;

    let relay = stage.relay(&[("ROWS_PER_SHARD_MAX", "1")]);
    let mut records = stage.topic.take(100).await;
    relay.process.terminate();
    assert!(relay.process.wait().success());
    let left = stage.pending().await.len();
    assert!(left > 0, "the relay was stopped in the middle");

    let _relay = stage.relay(&[]);
    stage.pending_is(&[]).await;
    // Nobody repeats: as many messages as events, each another one.
    records.extend(stage.topic.take(names.len() - records.len()).await);
    let published: HashSet<_> = records.iter().map(id).collect();
    assert_eq!(published.len(), names.len());
}

#[tokio::test]
async fn sigterm_during_an_outage_ends_the_relay_within_ten_seconds() {
    let stage = Stage::set().await;
    stage.commit(&["a"]).await;
    let relay = stage.relay(&[("KAFKA_BROKERS", "127.0.0.1:1")]);
    relay.is_not_ready("kafka", "no Kafka broker answers").await;
    let begun = Instant::now();
    relay.process.terminate();
    assert!(relay.process.wait().success());
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(stage.pending().await, ["a"]);
}
