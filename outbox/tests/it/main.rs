//! The pattern's write side, on a real PostgreSQL.

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Text};
use diesel_async::{
    AsyncConnection as _, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection as _,
};
use outbox::inbox::{self, EventIdentity, Seen};
use outbox::schema::outbox as table;
use outbox::{AppendError, NewEvent, append, drain, statement};
use testkit::TestDatabase;
use uuid::Uuid;

#[path = "../../examples/orders.rs"]
#[expect(dead_code, reason = "the example's own entry")]
mod orders;

async fn database() -> TestDatabase {
    TestDatabase::create("outbox", vec![outbox::MIGRATIONS]).await
}

fn event(key: &str, number: u32) -> NewEvent {
    NewEvent {
        id: Uuid::now_v7(),
        aggregate_type: "wallet",
        aggregate_id: key.to_owned(),
        event_type: "Counted",
        source: "test",
        traceparent: String::new(),
        tracestate: String::new(),
        payload: serde_json::json!({ "number": number }),
    }
}

async fn stored(conn: &mut AsyncPgConnection) -> Vec<Uuid> {
    table::table
        .order(table::seq)
        .select(table::id)
        .load(conn)
        .await
        .expect("the outbox can be read")
}

#[tokio::test]
async fn an_event_commits_with_its_cause_or_not_at_all() {
    let database = database().await;
    let mut conn = database.connect().await;
    let kept = event("a", 1);
    let id = kept.id;
    conn.transaction(async |conn| append(conn, vec![kept]).await)
        .await
        .expect("the first commits");
    let rolled_back: Result<(), AppendError> = conn
        .transaction(async |conn| {
            append(conn, vec![event("a", 2)]).await?;
            Err(diesel::result::Error::RollbackTransaction.into())
        })
        .await;
    assert!(rolled_back.is_err());
    assert_eq!(stored(&mut conn).await, [id]);
}

#[tokio::test]
async fn appending_outside_a_transaction_is_refused() {
    let database = database().await;
    let mut conn = database.connect().await;
    let refused = append(&mut conn, vec![event("a", 1)]).await;
    assert!(
        matches!(refused, Err(AppendError::OutsideTransaction)),
        "{refused:?}"
    );
    assert!(stored(&mut conn).await.is_empty());
}

#[tokio::test]
async fn a_batch_keeps_its_order_and_a_key_its_shard() {
    let database = database().await;
    let mut conn = database.connect().await;
    let events: Vec<NewEvent> = (0..500)
        .map(|number| event(&format!("key-{}", number % 7), number))
        .collect();
    let ids: Vec<Uuid> = events.iter().map(|event| event.id).collect();
    conn.transaction(async |conn| append(conn, events).await)
        .await
        .expect("the batch commits");
    assert_eq!(stored(&mut conn).await, ids);
    let shards: Vec<(String, i16)> = table::table
        .select((table::aggregateid, table::shard))
        .distinct()
        .load(&mut conn)
        .await
        .expect("the outbox can be read");
    assert_eq!(shards.len(), 7, "one shard a key: {shards:?}");
    assert!(shards.iter().all(|(_, shard)| (0..64).contains(shard)));
}

/// Longer ones could not be parked: a row of an index has its limit.
#[tokio::test]
async fn a_key_that_does_not_fit_an_index_is_refused() {
    let database = database().await;
    let mut conn = database.connect().await;
    let mut refused = Vec::new();
    for length in [1_024, 1_025] {
        let key = "k".repeat(length);
        let appended = conn.transaction(async |conn| append(conn, vec![event(&key, 1)]).await);
        refused.push(appended.await.err().map(|error| format!("{error:?}")));
    }
    let [None, Some(error)] = &refused[..] else {
        panic!("{refused:?}");
    };
    assert!(error.contains("key_fits_an_index"), "{error}");
}

#[tokio::test]
async fn the_example_publishes_two_orders_and_ships_each_once() {
    let database = TestDatabase::create("empty", vec![]).await;
    let mut out = Vec::new();
    orders::run(database.url(), &mut out).await.unwrap();
    let out = String::from_utf8(out).unwrap();
    let lines: Vec<&str> = out.lines().collect();
    let [tea, coffee, shipped @ ..] = lines.as_slice() else {
        panic!("{out}");
    };
    assert_eq!(
        *tea,
        r#"order.events <- OrderPlaced {"item": "tea", "quantity": 2}"#
    );
    assert_eq!(
        *coffee,
        r#"order.events <- OrderPlaced {"item": "coffee", "quantity": 1}"#
    );
    let [first, second, again] = shipped else {
        panic!("{out}");
    };
    assert!(first.starts_with("shipped: order "), "{out}");
    assert!(second.starts_with("shipped: order "), "{out}");
    assert_eq!(
        again.strip_prefix("shipped before"),
        first.strip_prefix("shipped")
    );
    assert_eq!(database.count("select count(*) from shipments").await, 2);
    assert_eq!(database.count("select count(*) from outbox").await, 0);
}

#[tokio::test]
async fn a_parked_event_blocks_its_own_key_and_no_other() {
    let database = database().await;
    let mut conn = database.connect().await;
    let events = vec![event("a", 1), event("b", 2), event("a", 3)];
    conn.transaction(async |conn| append(conn, events).await)
        .await
        .unwrap();
    let keys = |page: drain::Page| -> Vec<String> {
        page.events
            .iter()
            .map(|event| event.key().to_owned())
            .collect()
    };
    let all = drain::next(&mut conn, &[], 10, 1_000_000).await.unwrap();
    let refused = all.events[0].seq;
    assert_eq!(keys(all), ["a", "b", "a"]);

    let parked = drain::park(&mut conn, &[(refused, "too large")], 1).await;
    assert_eq!(parked.unwrap(), [refused].into());
    let shards: Vec<i32> = (0..64).collect();
    let free = drain::next_of_shards(&mut conn, &shards, &[], 10, 1_000_000)
        .await
        .unwrap();
    let other = free.events[0].seq;
    assert_eq!(keys(free), ["b"]);
    // There is room for one key.
    let parked = drain::park(&mut conn, &[(other, "too large")], 1).await;
    assert!(parked.unwrap().is_empty());
    assert_eq!(drain::delete(&mut conn, &[other]).await.unwrap(), 1);
    let left = drain::next(&mut conn, &[], 10, 1_000_000).await.unwrap();
    assert!(keys(left).is_empty());
}

#[tokio::test]
async fn the_inbox_says_first_once() {
    let database = database().await;
    let mut conn = database.connect().await;
    let [one, two, three] = [(); 3].map(|()| identity(Uuid::now_v7()));
    let seen = inbox::take(&mut conn, "consumer", &[two, one, two]).await;
    assert_eq!(seen, Ok(vec![Seen::First, Seen::First, Seen::Again]));
    let seen = inbox::take(&mut conn, "consumer", &[one, three]).await;
    assert_eq!(seen, Ok(vec![Seen::Again, Seen::First]));
    let seen = inbox::take(&mut conn, "another consumer", &[one]).await;
    assert_eq!(seen, Ok(vec![Seen::First]));
}

#[tokio::test]
async fn an_event_is_its_source_its_id_and_what_it_says() {
    let database = database().await;
    let mut conn = database.connect().await;
    let one = identity(Uuid::now_v7());
    let of_another = EventIdentity {
        source: "another",
        ..one
    };
    let changed = EventIdentity {
        fingerprint: [1; 32],
        ..one
    };
    let seen = inbox::take(&mut conn, "c", &[one, of_another, changed, one]).await;
    let first_and_again = vec![Seen::First, Seen::First, Seen::Conflict, Seen::Again];
    assert_eq!(seen, Ok(first_and_again));
    let seen = inbox::take(&mut conn, "c", &[changed, one, of_another]).await;
    assert_eq!(seen, Ok(vec![Seen::Conflict, Seen::Again, Seen::Again]));
    // A row of a version that stored no fingerprint.
    conn.batch_execute("update inbox set fingerprint = null")
        .await
        .expect("updated");
    let seen = inbox::take(&mut conn, "c", &[changed]).await;
    assert_eq!(seen, Ok(vec![Seen::Again]));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_transactions_that_take_one_event_act_once() {
    let database = database().await;
    let (mut slow, mut fast) = (database.connect().await, database.connect().await);
    let ids = [identity(Uuid::now_v7())];
    slow.batch_execute("begin").await.expect("begin");
    assert_eq!(
        inbox::take(&mut slow, "c", &ids).await,
        Ok(vec![Seen::First])
    );
    let (seen, ()) = tokio::join!(inbox::take(&mut fast, "c", &ids), async {
        database.somebody_waits().await;
        slow.batch_execute("commit").await.expect("commit");
    });
    assert_eq!(seen, Ok(vec![Seen::Again]));
}

#[tokio::test]
async fn a_statement_is_prepared_once_a_connection() {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        count: i64,
    }
    let database = database().await;
    let mut conn = database.connect().await;
    for texts in [vec!["a"], vec!["b", "c"]] {
        let rows: Vec<Row> = statement("select count(*) from unnest($1) as one (x) where x <> $2")
            .bind::<Array<Text>, _>(texts.clone())
            .bind::<Text, _>("c")
            .load(&mut conn)
            .await
            .expect("the statement is valid");
        assert_eq!(
            rows.as_slice().first().map(|row| row.count),
            Some(1),
            "{texts:?}"
        );
    }
    let prepared: Vec<Row> = diesel::sql_query(
        "select count(*) from pg_prepared_statements where statement like 'select count(*) from unnest%'",
    )
    .load(&mut conn)
    .await
    .expect("the statements are listed");
    assert_eq!(prepared.as_slice().first().map(|row| row.count), Some(1));
}

fn identity(id: Uuid) -> EventIdentity<'static> {
    EventIdentity {
        source: "tests",
        id,
        fingerprint: [0; 32],
    }
}
