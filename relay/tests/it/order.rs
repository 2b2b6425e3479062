//! Order per key, with several relays and many writers.

use std::collections::{BTreeMap, HashSet};

use diesel_async::{AsyncConnection as _, SimpleAsyncConnection as _};
use outbox::append;
use serde_json::json;
use tokio::task::JoinSet;

use crate::stage::{Stage, event, id, key, payload};

const KEYS: usize = 20;
const WRITERS: usize = 8;
const EVENTS_OF_A_WRITER: usize = 250;

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_key_are_first_seen_in_the_order_of_their_commits() {
    let stage = Stage::set().await;
    let setup = "create table aggregates as \
         select 'key-' || number as id, 0 as version from generate_series(0, 19) as number";
    let mut conn = stage.database.connect().await;
    conn.batch_execute(setup).await.unwrap();

    let _first = stage.relay(&[]);
    let second = stage.relay(&[]);
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let conn = stage.database.connect().await;
        writers.spawn(write(conn, writer));
    }
    // One relay dies and another comes in the middle of it all.
    let seen = stage.topic.take(WRITERS * EVENTS_OF_A_WRITER / 2).await;
    second.process.kill_9();
    let _third = stage.relay(&[]);
    while let Some(written) = writers.join_next().await {
        written.unwrap();
    }
    stage.pending_is(&[]).await;

    let mut known = HashSet::new();
    let mut versions: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let mut first_seen = |record| {
        if known.insert(id(&record)) {
            let versions = versions.entry(key(&record).to_owned()).or_default();
            versions.push(payload(&record)["version"].as_i64().unwrap());
        }
        known.len()
    };
    seen.into_iter().for_each(|record| {
        first_seen(record);
    });
    while first_seen(stage.topic.next().await) < WRITERS * EVENTS_OF_A_WRITER {}

    assert_eq!(versions.len(), KEYS);
    for (key, versions) in versions {
        let committed: Vec<i64> = (1..).take(versions.len()).collect();
        assert_eq!(versions, committed, "{key}");
    }
}

/// Changes one aggregate after the other, each in a transaction that locks it first and then appends.
async fn write(mut conn: diesel_async::AsyncPgConnection, writer: usize) {
    for turn in 0..EVENTS_OF_A_WRITER {
        let key = format!("key-{}", (turn * 7 + writer * 3) % KEYS);
        conn.transaction(async |conn| -> Result<(), outbox::AppendError> {
            let version = next_version(conn, &key).await?;
            append(conn, vec![event(&key, json!({ "version": version }))]).await
        })
        .await
        .unwrap();
    }
}

async fn next_version(
    conn: &mut diesel_async::AsyncPgConnection,
    key: &str,
) -> diesel::QueryResult<i32> {
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
