//! Mode cdc: a transaction of any size is carried in little memory.

use diesel_async::SimpleAsyncConnection as _;
use testkit::eventually;

use crate::slot::streams;
use crate::test_outbox::TestOutbox;

const ROWS: usize = 1_000_000;

/// Bytes of a row's payload: all rows together are more than twice what the relay may take.
const ROW_BYTES: usize = 300;

/// Kilobytes of memory that a relay may ever have had.
const MEMORY_KB_MAX: u64 = 120_000;

#[tokio::test]
async fn a_transaction_larger_than_the_relays_memory_is_carried() {
    let test = TestOutbox::new().await;
    let relay = test.cdc();
    streams(&test).await;
    let mut conn = test.database.connect().await;
    conn.batch_execute(&format!(
        "insert into outbox (id, aggregatetype, aggregateid, type, source, traceparent, payload) \
         select gen_random_uuid(), 'wallet', number % 1000, 'T', 's', '', \
             jsonb_build_object('noise', repeat('x', {ROW_BYTES})) \
         from generate_series(1, {ROWS}) as number"
    ))
    .await
    .unwrap();
    for carried in (1..=10).map(|tenth| ROWS / 10 * tenth) {
        let left = format!(
            "select count(*) from (select from outbox where seq <= {carried} limit 1) as one"
        );
        eventually("the next tenth is carried", async || {
            match test.database.count(&left).await {
                0 => Ok(()),
                _ => Err(format!("there are rows up to {carried}")),
            }
        })
        .await;
    }
    test.pending_is(&[]).await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", relay.process.id())).unwrap();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let most = most.unwrap().trim().trim_end_matches(" kB");
    let most: u64 = most.parse().unwrap();
    assert!(most < MEMORY_KB_MAX, "{most} kB");
}
