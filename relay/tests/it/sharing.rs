//! Several relays share the shards.

use std::collections::BTreeMap;

use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl;
use relay::poller::shards::LOCK_CLASS;
use testkit::eventually;

use crate::test_outbox::{TestOutbox, keys};

#[tokio::test]
async fn relays_share_fairly_and_a_killed_one_is_replaced() {
    let test = TestOutbox::new().await;
    let first = test.relay(&[]);
    shares_are(&test, &[64]).await;
    first.measures("relay_shards_held 64").await;
    let _second = test.relay(&[]);
    shares_are(&test, &[32, 32]).await;
    first.measures("relay_shards_held 32").await;
    let third = test.relay(&[]);
    shares_are(&test, &[21, 21, 22]).await;
    third.process.kill_9();
    shares_are(&test, &[32, 32]).await;

    // Of all shards, so of those that were the third's too.
    let names: Vec<String> = (0..640).map(|number| number.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    test.commit(&names).await;
    let records = test.topic.take(names.len()).await;
    let published: BTreeMap<&str, ()> = keys(&records).into_iter().map(|key| (key, ())).collect();
    assert_eq!(published.len(), names.len());
    test.pending_is(&[]).await;
}

#[tokio::test]
async fn relays_of_other_databases_have_no_share() {
    let (one, other) = (TestOutbox::new().await, TestOutbox::new().await);
    let _first = one.relay(&[]);
    shares_are(&one, &[64]).await;
    let _second = other.relay(&[]);
    shares_are(&other, &[64]).await;
    shares_are(&one, &[64]).await;
}

/// Waits until so many shards are held by one session each, ascending.
async fn shares_are(test: &TestOutbox, expected: &[i64]) {
    let mut conn = test.database.connect().await;
    eventually(&format!("shards are shared {expected:?}"), async || {
        let shares: Vec<i64> = diesel::select(diesel::dsl::sql::<BigInt>(&format!(
            "count(*) from pg_locks where locktype = 'advisory' and classid = {LOCK_CLASS} and granted \
             and database = (select oid from pg_database where datname = current_database()) \
             group by pid order by 1"
        )))
        .load(&mut conn)
        .await
        .unwrap();
        if shares == expected {
            Ok(())
        } else {
            Err(format!("{shares:?}"))
        }
    })
    .await;
}
