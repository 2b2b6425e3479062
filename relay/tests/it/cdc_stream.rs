//! Mode cdc, step by step: bounded batches, and what is confirmed when.

use diesel::sql_types::Bool;
use diesel_async::{AsyncConnection as _, RunQueryDsl as _, SimpleAsyncConnection as _};
use relay::cdc::{Cdc, CdcError, ROWS_MAX};
use relay::config::Config;
use relay::driver;
use relay::mode::Mode as _;
use relay::progress::{BatchStats, Progress};
use relay::publisher::Publisher;
use tokio_util::sync::CancellationToken;

use crate::refused::large;
use crate::slot::{is_confirmed_to_the_end_of_the_log, is_streaming};
use crate::test_outbox::{TestOutbox, append_all, key as key_of};

const ROWS: usize = 100_000;

/// A relay in the test's own process, that does a step when the test says so.
struct Stepped {
    cdc: Cdc,
    publisher: Publisher,
    stop: CancellationToken,
}

impl Stepped {
    /// Sweeps an empty outbox until the stream is open.
    async fn streaming(test: &TestOutbox, config: &Config) -> Self {
        let mut publisher = Publisher::new(&config.kafka, &config.publisher).unwrap();
        let progress = Progress::default();
        let started = driver::start(config, &mut publisher, &progress, None);
        let mut relay = Self {
            cdc: started.await.unwrap(),
            publisher,
            stop: CancellationToken::new(),
        };
        while !is_streaming(test).await {
            assert_eq!(relay.run_once().await.unwrap().read, 0);
        }
        relay
    }

    async fn run_once(&mut self) -> Result<BatchStats, CdcError> {
        self.cdc.run_once(&mut self.publisher, &self.stop).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_transaction_goes_in_bounded_batches_and_is_confirmed_at_its_end() {
    let test = TestOutbox::new().await;
    let mut relay = Stepped::streaming(&test, &test.config()).await;

    let mut conn = test.database.connect().await;
    conn.begin_test_transaction().await.unwrap();
    conn.batch_execute(&format!(
        "insert into outbox (id, aggregatetype, aggregateid, type, source, traceparent, payload) \
         select gen_random_uuid(), 'wallet', number % 1000, 'T', 's', '', '{{}}' \
         from generate_series(1, {ROWS}) as number; \
         create temporary table before_commit as select pg_current_wal_insert_lsn() as lsn; commit"
    ))
    .await
    .unwrap();
    let mut published = 0;
    while published < ROWS {
        let confirmed: bool = diesel::select(diesel::dsl::sql::<Bool>(
            "exists (select from pg_replication_slots, before_commit \
             where database = current_database() and confirmed_flush_lsn > lsn)",
        ))
        .get_result(&mut conn)
        .await
        .unwrap();
        assert!(!confirmed, "after {published} of {ROWS} rows");
        let run = relay.run_once().await.unwrap();
        assert!(run.read <= ROWS_MAX, "{run:?}");
        assert_eq!((run.published, run.deleted), (run.read, run.read));
        published += run.published;
    }
    assert_eq!(published, ROWS);
    let confirmed = is_confirmed_to_the_end_of_the_log(&mut conn);
    tokio::select! {
        () = confirmed => {}
        () = async { while let Ok(BatchStats { .. }) = relay.run_once().await {} } => panic!("it ended"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_behind_one_that_was_parked_just_now_is_left_to_the_table() {
    let test = TestOutbox::new().await;
    let mut config = test.config();
    config.publisher.message_bytes_max = 2_000;
    let mut relay = Stepped::streaming(&test, &config).await;
    // Often, because the relay looks at what is parked now and then, and would learn it there.
    let mut conn = test.database.connect().await;
    for number in 0..20 {
        let key = number.to_string();
        append_all(&mut conn, vec![large(&key, 3_000)]).await;
        while relay.run_once().await.unwrap().parked == 0 {}
        test.commit(&[&key]).await;
        test.commit(&["other"]).await;
        while relay.run_once().await.unwrap().published == 0 {}
        assert_eq!(key_of(&test.topic.next().await), "other");
    }
    assert_eq!(test.pending().await.len(), 40);
}
