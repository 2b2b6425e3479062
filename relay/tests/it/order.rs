//! Order per key, with several relays and many writers.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use chassis::consumer::Record;
use diesel_async::{AsyncConnection as _, AsyncPgConnection, SimpleAsyncConnection as _};
use outbox::append;
use serde_json::json;
use testkit::eventually;
use tokio::task::JoinSet;

use crate::test_outbox::{TestOutbox, event, id, key, payload};

const KEYS: usize = 20;
const WRITERS: usize = 8;

/// A writer's: more than this makes a backlog that a slow machine is busy with for minutes.
const PACE: Duration = Duration::from_millis(8);

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_key_are_first_seen_in_the_order_of_their_commits() {
    in_order_while_relays_come_and_go("poller").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_key_are_first_seen_in_the_order_of_their_commits_in_mode_cdc() {
    in_order_while_relays_come_and_go("cdc").await;
}

async fn in_order_while_relays_come_and_go(mode: &str) {
    let test = TestOutbox::new().await;
    let _first = test.relay(&[("RELAY_MODE", mode)]);
    let second = test.relay(&[("RELAY_MODE", mode)]);
    let load = Load::begin(&test).await;
    // One relay dies and another comes in the middle of it all.
    let seen = test.topic.take(1_000).await;
    second.process.kill_9();
    let _third = test.relay(&[("RELAY_MODE", mode)]);
    load.comes_in_order(&test, seen, 2_000).await;
}

/// Writers that change aggregates and append events of it.
pub(crate) struct Load {
    enough: Arc<AtomicBool>,
    committed: Arc<AtomicUsize>,
    writers: JoinSet<()>,
}

impl Load {
    pub(crate) async fn begin(test: &TestOutbox) -> Self {
        let setup = "create table aggregates as \
             select 'key-' || number as id, 0 as version from generate_series(0, 19) as number";
        let mut conn = test.database.connect().await;
        conn.batch_execute(setup).await.unwrap();
        let mut load = Self {
            enough: Arc::default(),
            committed: Arc::default(),
            writers: JoinSet::new(),
        };
        for writer in 0..WRITERS {
            let url = test.database.url().to_owned();
            let (enough, committed) = (Arc::clone(&load.enough), Arc::clone(&load.committed));
            load.writers.spawn(write(url, writer, enough, committed));
        }
        load
    }

    /// Ends the load when at least `count` events are committed, and reads the topic until all are
    /// there: `seen`, and what follows, are first seen in the order of commits, and none is missing. Returns how often
    /// one was seen again.
    pub(crate) async fn comes_in_order(
        mut self,
        test: &TestOutbox,
        seen: Vec<Record>,
        count: usize,
    ) -> usize {
        eventually("enough events are committed", async || {
            let committed = self.committed.load(Ordering::Relaxed);
            if committed >= count {
                Ok(())
            } else {
                Err(committed.to_string())
            }
        })
        .await;
        self.enough.store(true, Ordering::Relaxed);
        while let Some(written) = self.writers.join_next().await {
            written.unwrap();
        }
        // The server knows of commits too whose answer was lost.
        let sql = "select sum(version)::bigint as count from aggregates";
        let count = usize::try_from(test.database.count(sql).await).unwrap();
        assert!(count >= self.committed.load(Ordering::Relaxed));
        test.pending_is(&[]).await;

        let mut known = HashSet::new();
        let mut versions: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        let mut first_seen = |record| {
            if known.insert(id(&record)) {
                let versions = versions.entry(key(&record).to_owned()).or_default();
                versions.push(payload(&record)["version"].as_i64().unwrap());
            }
            known.len()
        };
        let mut records = seen.len();
        let mut read = 0;
        for record in seen {
            read = first_seen(record);
        }
        while read < count {
            read = first_seen(test.topic.next().await);
            records += 1;
        }

        assert_eq!(versions.len(), KEYS);
        for (key, versions) in versions {
            let committed: Vec<i64> = (1..).take(versions.len()).collect();
            assert_eq!(versions, committed, "{key}");
        }
        records - read
    }
}

/// Changes one aggregate after the other, each in a transaction that locks it first and then appends. Goes
/// on with another connection when its own is lost.
async fn write(url: String, writer: usize, enough: Arc<AtomicBool>, committed: Arc<AtomicUsize>) {
    let mut turn = writer * 3;
    let mut pace = tokio::time::interval(PACE);
    let mut conn = connect(&url).await;
    while !enough.load(Ordering::Relaxed) {
        pace.tick().await;
        turn += 7;
        let key = format!("key-{}", turn % KEYS);
        let written = conn.transaction(async |conn| -> Result<(), outbox::AppendError> {
            let version = next_version(conn, &key).await?;
            append(conn, vec![event(&key, json!({ "version": version }))]).await
        });
        match written.await {
            Ok(()) => {
                committed.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                let lost = conn.batch_execute("select 1").await.is_err();
                assert!(lost, "{error}");
                conn = connect(&url).await;
            }
        }
    }
}

async fn connect(url: &str) -> AsyncPgConnection {
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    loop {
        tick.tick().await;
        if let Ok(conn) = AsyncPgConnection::establish(url).await {
            return conn;
        }
    }
}

async fn next_version(conn: &mut AsyncPgConnection, key: &str) -> diesel::QueryResult<i32> {
    #[derive(diesel::QueryableByName)]
    struct Version {
        #[diesel(sql_type = diesel::sql_types::Integer)]
        version: i32,
    }
    let sql = "update aggregates set version = version + 1 where id = $1 returning version";
    let query = diesel::sql_query(sql).bind::<diesel::sql_types::Text, _>(key);
    let row: Version = diesel_async::RunQueryDsl::get_result(query, conn).await?;
    Ok(row.version)
}
