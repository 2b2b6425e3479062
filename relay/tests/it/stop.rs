//! SIGTERM: what is in flight is finished or left for the next relay.

use std::time::{Duration, Instant};

use crate::test_outbox::{TestOutbox, id};

// The connection that makes deletes wait closes while this thread waits for the process.
#[tokio::test(flavor = "multi_thread")]
async fn sigterm_between_publish_and_delete_loses_and_repeats_nothing() {
    let test = TestOutbox::new().await;
    let committed = test.commit(&["a"; 200]).await;
    let wait = test.deletes_wait().await;
    let relay = test.relay(&[("ROWS_PER_SHARD_MAX", "10")]);
    let mut published = test.topic.take(10).await;
    relay.process.terminate();
    relay.is_stopping().await;
    drop(wait);
    assert!(relay.process.wait().success());
    assert_eq!(test.pending().await.len(), 190);

    let _relay = test.relay(&[]);
    published.extend(test.topic.take(190).await);
    assert_eq!(published.iter().map(id).collect::<Vec<_>>(), committed);
    test.pending_is(&[]).await;
}

#[tokio::test]
async fn sigterm_during_an_outage_ends_the_relay_within_ten_seconds() {
    let test = TestOutbox::new().await;
    test.commit(&["a"]).await;
    let relay = test.relay(&[("KAFKA_BROKERS", "127.0.0.1:1")]);
    relay.is_not_ready("kafka", "no Kafka broker answers").await;
    let begun = Instant::now();
    relay.process.terminate();
    assert!(relay.process.wait().success());
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(test.pending().await, ["a"]);
}
