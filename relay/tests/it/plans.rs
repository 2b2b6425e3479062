//! How PostgreSQL reads the outbox.

use diesel::QueryableByName;
use diesel::sql_types::Text;
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use outbox::drain::{DELETE, NEXT_OF_SHARDS, PARK};
use relay::parked::TIDY;
use relay::session::SETTINGS;

use crate::test_outbox::TestOutbox;

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text, column_name = "QUERY PLAN")]
    line: String,
}

#[tokio::test]
async fn the_poller_reads_ranges_of_its_index_whatever_the_statistics_say() {
    let test = TestOutbox::new().await;
    let mut conn = test.database.connect().await;
    conn.batch_execute(SETTINGS).await.unwrap();
    conn.batch_execute(&format!(
        "prepare read (int[], text[], bigint) as {NEXT_OF_SHARDS}"
    ))
    .await
    .unwrap();
    let parked = "insert into parked_events (aggregateid, seq, reason) \
         select aggregateid, min(seq), '' from outbox group by aggregateid on conflict do nothing";
    for (what, change) in [
        ("never analysed", "select"),
        ("empty", "analyze"),
        ("many keys", &rows("number % 1000")),
        ("many keys, all parked", parked),
        (
            "one key, parked",
            &format!("truncate outbox, parked_events; {}; {parked}", rows("1")),
        ),
    ] {
        conn.batch_execute(change).await.unwrap();
        if what != "never analysed" {
            conn.batch_execute("analyze outbox, parked_events")
                .await
                .unwrap();
        }
        let plan = plan(&mut conn, "execute read ('{1,2,3}', '{a,b}', 128)").await;
        for step in [
            "using outbox_next_of_shard",
            "Index Cond: ((ROW(shard, seq) >=",
            "hashed SubPlan",
        ] {
            assert!(plan.contains(step), "{what}: {plan}");
        }
        assert!(!plan.contains("Sort"), "{what}: {plan}");
    }
}

/// An outbox is mostly empty, and is analysed while it is. PostgreSQL then believes that it has one row until it analyses it again,
/// whatever comes.
#[tokio::test]
async fn rows_are_found_by_their_numbers_whatever_the_statistics_say() {
    let test = TestOutbox::new().await;
    test.database.keep_statistics().await;
    let mut conn = test.database.connect().await;
    conn.batch_execute(SETTINGS).await.unwrap();
    conn.batch_execute(&format!(
        "prepare remove (bigint[]) as {DELETE}; prepare tidy as {TIDY}; \
         prepare park (bigint[], text[], bigint) as {PARK}"
    ))
    .await
    .unwrap();
    for (what, change) in [
        ("never analysed", "select"),
        ("empty", "analyze outbox"),
        ("full", &format!("{}; analyze outbox", rows("number"))),
        ("emptied", "delete from outbox; analyze outbox"),
        ("full again, not analysed", &rows("number")),
    ] {
        conn.batch_execute(change).await.unwrap();
        for statement in [
            "execute remove ('{1,2,3}')",
            "execute tidy",
            "execute park ('{1,2,3}', '{a,b,c}', 9)",
        ] {
            let plan = plan(&mut conn, statement).await;
            let (_, condition) = plan.split_once("using outbox_pkey").unwrap_or_default();
            let condition = condition.lines().nth(1).unwrap_or_default().trim_start();
            assert!(
                condition.starts_with("Index Cond: (seq = ANY"),
                "{what}: {plan}"
            );
            assert!(!plan.contains("outbox_next_of_shard"), "{what}: {plan}");
        }
    }
}

/// As [`rows_are_found_by_their_numbers_whatever_the_statistics_say`], in the session of the command line.
#[tokio::test]
async fn a_replay_reads_the_parked_events_and_no_others() {
    let test = TestOutbox::new().await;
    test.database.keep_statistics().await;
    let mut conn = test.database.connect().await;
    let appended = rows("number");
    let parked = "insert into parked_events (aggregateid, seq, reason) select aggregateid, seq, '' from outbox limit 100";
    let emptied = "delete from outbox; analyze outbox";
    conn.batch_execute(&format!(
        "{appended}; analyze outbox; {emptied}; {appended}; {parked}"
    ))
    .await
    .unwrap();
    let replayed = test.relay_parked(&["replay", "--all"]).await;
    let replayed = String::from_utf8(replayed.stdout).unwrap();
    assert!(replayed.starts_with("100 to be retried"), "{replayed}");

    let read = "select sum(idx_tup_read)::bigint as count from pg_stat_user_indexes where relname = 'outbox'";
    let read = testkit::eventually("what the command read is counted", async || {
        match test.database.count(read).await {
            0 => Err("nothing".to_owned()),
            read => Ok(read),
        }
    })
    .await;
    assert_eq!(read, 100);
}

async fn plan(conn: &mut AsyncPgConnection, statement: &str) -> String {
    let explain = format!("explain (costs off) {statement}");
    let plan: Vec<Line> = diesel::sql_query(explain).load(conn).await.unwrap();
    let plan: Vec<&str> = plan.iter().map(|line| line.line.as_str()).collect();
    plan.join("\n")
}

/// Appends 20,000 events of the keys `key`.
fn rows(key: &str) -> String {
    format!(
        "insert into outbox (id, aggregatetype, aggregateid, type, source, traceparent, payload) \
         select gen_random_uuid(), 'wallet', ({key})::text, 'T', 's', '', '{{}}' \
         from generate_series(1, 20000) as number"
    )
}
