//! Dead letters, on a real PostgreSQL.

use diesel_async::SimpleAsyncConnection as _;
use operations::dead_letter::{self, Filter, NewDeadLetter, Status};
use testkit::TestDatabase;

#[tokio::test]
async fn a_dead_letter_is_kept_once_whatever_it_holds() {
    let database = TestDatabase::create(
        "operations",
        vec![outbox::MIGRATIONS, operations::MIGRATIONS],
    )
    .await;
    let mut conn = database.connect().await;
    let letter = NewDeadLetter {
        consumer: "c",
        topic: "t".to_owned(),
        kafka_partition: 1,
        kafka_offset: 2,
        key: Some(vec![0]),
        headers: serde_json::json!([["name", "value"]]),
        digest: vec![1],
        payload: Some(vec![0xff, 0]),
        reason: "nul \0 inside".to_owned(),
    };
    for expected in [1, 0] {
        let recorded = dead_letter::record(&mut conn, std::slice::from_ref(&letter)).await;
        assert_eq!(recorded, Ok(expected));
    }
    let kept = dead_letter::list(&mut conn, Status::Open, Filter::default(), None, 10)
        .await
        .expect("the list");
    assert_eq!(kept.len(), 1);
    let kept = kept.as_slice().first().expect("one letter");
    assert_eq!((&kept.key, &kept.payload), (&letter.key, &letter.payload));
    assert_eq!(kept.reason, "nul \u{fffd} inside");
    let mut large = letter.clone();
    large.kafka_offset += 1;
    large.payload = Some(vec![b'x'; 1_000_000]);
    let recorded = dead_letter::record(&mut conn, &[large]).await;
    assert_eq!(recorded, Ok(1));
    let listed = dead_letter::list(&mut conn, Status::Open, Filter::default(), None, 1)
        .await
        .expect("the list");
    let shown = listed
        .as_slice()
        .first()
        .and_then(|letter| letter.payload.as_ref());
    assert_eq!(shown.map(Vec::len), Some(4_096));
    let older = dead_letter::list(
        &mut conn,
        Status::Open,
        Filter::default(),
        Some(kept.id),
        10,
    )
    .await;
    assert!(older.expect("the list").is_empty());
}

/// A database whose dead letters were made by the outbox's first migration, before there were migrations for them.
#[tokio::test]
async fn dead_letters_that_are_older_than_their_migrations_stay() {
    let database = TestDatabase::create("empty", vec![]).await;
    let mut conn = database.connect().await;
    for statements in [
        include_str!("../../../migrations/outbox/2026-01-01-000000_outbox/up.sql"),
        "create table __diesel_schema_migrations (
             version varchar(50) primary key, run_on timestamp not null default now());
         insert into __diesel_schema_migrations (version) values ('20260101000000');
         insert into dead_letters (consumer, topic, kafka_partition, kafka_offset, headers, reason)
             values ('test', 'bill.events', 0, 1, '[]', 'it makes no sense')",
    ] {
        conn.batch_execute(statements).await.unwrap();
    }
    let all = || vec![outbox::MIGRATIONS, operations::MIGRATIONS];
    let target = chassis::database::Target::parse(database.url(), None).unwrap();
    chassis::database::migrate(&target, all(), None)
        .await
        .unwrap();
    let kept =
        "select count(*) from dead_letters where digest = '' and reason = 'it makes no sense'";
    assert_eq!(database.count(kept).await, 1);

    // Back to the version before, and forth again.
    for statements in [
        include_str!("../../../migrations/operations/2026-11-26-000000_operations/down.sql"),
        include_str!("../../../migrations/outbox/2026-11-26-000003_tracestate/down.sql"),
        include_str!("../../../migrations/outbox/2026-11-25-000001_message_identity/down.sql"),
        "delete from __diesel_schema_migrations where version > '20260101000000'",
    ] {
        conn.batch_execute(statements).await.unwrap();
    }
    chassis::database::migrate(&target, all(), None)
        .await
        .unwrap();
    assert_eq!(database.count(kept).await, 1);
}

#[tokio::test]
async fn an_outbox_without_operations_has_no_dead_letters() {
    let database = TestDatabase::create("outbox", vec![outbox::MIGRATIONS]).await;
    let tables = "select count(*) from pg_tables where schemaname = 'public' \
         and tablename in ('dead_letters', 'operator_actions')";
    assert_eq!(database.count(tables).await, 0);
    let mut conn = database.connect().await;
    for statements in [
        include_str!("../../../migrations/outbox/2026-11-25-000001_message_identity/down.sql"),
        include_str!("../../../migrations/outbox/2026-01-01-000000_outbox/down.sql"),
    ] {
        conn.batch_execute(statements).await.unwrap();
    }
}
