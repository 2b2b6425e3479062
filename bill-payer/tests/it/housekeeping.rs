//! What is too old goes, in bounded batches; what somebody still needs stays.

use bill_payer::housekeeping::SettledBills;
use chassis::consumer::Handler as _;
use diesel_async::{RunQueryDsl as _, SimpleAsyncConnection as _};
use operations::housekeeping::{
    Housekeeping, HousekeepingConfig, Kept, Sweep as _, kept, too_short,
};
use testkit::{TopicReader, kafka_brokers, unique_prefix};

use crate::support::{BillPayer, Running, counts, quick, record, request};

const RETENTION_H: u32 = 200;
const BATCH: u32 = 10;

fn config() -> HousekeepingConfig {
    HousekeepingConfig {
        retention_h: RETENTION_H,
        housekeeping_batch_rows_max: BATCH,
        housekeeping_every_s: 60,
    }
}

fn housekeeping(payer: &BillPayer) -> Housekeeping<SettledBills> {
    Housekeeping::new(payer.pool.clone(), config(), SettledBills::default())
}

async fn execute(payer: &BillPayer, sql: &str) {
    let mut conn = payer.database.connect().await;
    conn.batch_execute(sql).await.unwrap();
}

/// Makes the bills of `which` so many hours old.
async fn age(payer: &BillPayer, which: &str, hours: u32) {
    execute(
        payer,
        &format!(
            "alter table bills disable trigger finished_bill_never_changes; \
             update bills set created_at = now() - interval '{hours} hours', \
                 updated_at = now() - interval '{hours} hours' where {which}; \
             alter table bills enable trigger finished_bill_never_changes"
        ),
    )
    .await;
}

async fn rows(payer: &BillPayer, sql: &str) -> usize {
    let mut conn = payer.database.connect().await;
    diesel::sql_query(sql).execute(&mut conn).await.unwrap()
}

#[tokio::test]
async fn settled_bills_go_with_their_attempts_when_their_retention_is_over() {
    let payer = BillPayer::start().await;
    let old: Vec<_> = (0..35).map(|_| request("WIFI-OLD")).collect();
    let young: Vec<_> = (0..3).map(|_| request("WIFI-YOUNG")).collect();
    payer.take_all(&old).await;
    payer.take_all(&young).await;
    let executor = Running::start(payer.executor(quick()));
    counts(&payer.database, "paid", 38).await;
    executor.stop().await;
    age(&payer, "account_number = 'WIFI-OLD'", RETENTION_H + 1).await;
    age(&payer, "account_number = 'WIFI-YOUNG'", RETENTION_H - 1).await;
    let deleted = housekeeping(&payer).run_once().await.unwrap();
    assert_eq!(deleted, 35);
    assert_eq!(rows(&payer, "select from bills").await, 3);
    assert_eq!(rows(&payer, "select from bill_attempts").await, 3);
    assert_eq!(housekeeping(&payer).run_once().await.unwrap(), 0);
}

#[tokio::test]
async fn a_bill_that_is_not_finished_stays_however_old_it_is() {
    let payer = BillPayer::start().await;
    for account in ["paying", "cancelling", "parked"] {
        payer.take(account).await;
    }
    execute(
        &payer,
        "update bills set status = 'cancelling' where account_number <> 'paying'; \
         update bills set status = 'parked', last_error = 'no answer' where account_number = 'parked'",
    )
    .await;
    age(&payer, "true", RETENTION_H * 10).await;
    assert_eq!(housekeeping(&payer).run_once().await.unwrap(), 0);
    assert_eq!(rows(&payer, "select from bills").await, 3);
}

#[tokio::test]
async fn a_batch_is_bounded_and_those_that_stay_are_walked_past() {
    let payer = BillPayer::start().await;
    // The first batch has nothing to delete: these were parked long ago.
    let parked: Vec<_> = (0..15).map(|_| request("WIFI-PARKED")).collect();
    payer.take_all(&parked).await;
    execute(
        &payer,
        "update bills set status = 'cancelling'; update bills set status = 'parked', last_error = 'no answer'",
    )
    .await;
    let settled: Vec<_> = (0..25).map(|_| request("WIFI-1")).collect();
    payer.take_all(&settled).await;
    execute(
        &payer,
        "update bills set status = 'failed', last_error = 'declined' where account_number = 'WIFI-1'",
    )
    .await;
    age(&payer, "true", RETENTION_H + 1).await;
    let mut conn = payer.database.connect().await;
    let mut sweep = SettledBills::default();
    let mut deleted = Vec::new();
    loop {
        let batch = sweep.sweep(&mut conn, &config()).await.unwrap();
        deleted.push(batch.deleted);
        if !batch.more {
            break;
        }
    }
    assert_eq!(deleted, [0, 5, 10, 10, 0]);
}

#[tokio::test]
async fn dead_letters_that_have_ended_go_and_open_ones_stay() {
    let payer = BillPayer::start().await;
    let mut intake = payer.intake();
    for offset in 0..40 {
        let mut record = record(&request("WIFI-1"));
        record.offset = offset;
        intake.reject(&record, "by hand").await.unwrap();
    }
    execute(
        &payer,
        &format!(
            "update dead_letters set created_at = now() - interval '1000 days'; \
             update dead_letters set status = 'discarded', ended_at = now() where kafka_offset < 25; \
             update dead_letters set status = 'taken', ended_at = now() - interval '{} hours' \
                 where kafka_offset < 15",
            RETENTION_H + 1
        ),
    )
    .await;
    assert_eq!(housekeeping(&payer).run_once().await.unwrap(), 15);
    let open = "select from dead_letters where status = 'open'";
    assert_eq!(rows(&payer, open).await, 15);
    assert_eq!(rows(&payer, "select from dead_letters").await, 25);
}

#[tokio::test]
async fn the_inbox_forgets_what_no_replay_can_bring_back_consumer_by_consumer() {
    let payer = BillPayer::start().await;
    for (consumer, hours) in [("a", RETENTION_H - 1), ("b", RETENTION_H + 1), ("c", 0)] {
        execute(
            &payer,
            &format!(
                "insert into inbox select '{consumer}', gen_random_uuid(), now() - interval '{hours} hours' \
                 from generate_series(1, 35)"
            ),
        )
        .await;
    }
    assert_eq!(housekeeping(&payer).run_once().await.unwrap(), 35);
    let kept = "select from inbox where consumer in ('a', 'c')";
    assert_eq!(rows(&payer, kept).await, 70);
}

#[test]
fn a_retention_that_is_not_longer_than_kafkas_is_warned_about() {
    let hours = |hours: u64| Kept::Ms(hours * 3_600_000);
    assert_eq!(too_short(&config(), hours(199)), None);
    for (kept, word) in [
        (hours(200), "Set it to 201"),
        (hours(720), "Set it to 721"),
        (Kept::ForEver, "for ever"),
    ] {
        let warning = too_short(&config(), kept).unwrap();
        assert!(warning.contains(word), "{warning}");
    }
}

#[tokio::test]
async fn kafka_is_asked_how_long_it_keeps_a_topic() {
    let topic = format!("{}wallet.events", unique_prefix());
    TopicReader::create(&topic, 1).await;
    let answer = kept(&kafka_brokers(), &topic).await.unwrap();
    assert!(matches!(answer, Kept::Ms(ms) if ms > 0), "{answer:?}");
    let missing = format!("{topic}.missing");
    assert!(kept(&kafka_brokers(), &missing).await.is_err());
}
