//! A provider that is away: bills wait, however long it takes, and are paid when it is back.

use bill_payer::config::ExecutorConfig;
use bill_payer::provider::Provider;
use diesel::QueryableByName;
use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl as _;
use mock_provider::Behaviour;
use serde_json::{Value, json};
use testkit::{Proxy, eventually};

use crate::provider::{Fault, faulty, response};
use crate::support::{
    BillPayer, Running, client, counts, provider_get, quick, request, until_recorded,
};

const BILLS: i32 = 40;

/// All attempts of a bill are used up after a twentieth of a second.
fn impatient() -> ExecutorConfig {
    let mut config = quick();
    config.pay_attempts_max = 6;
    config.retry_max_ms = 20;
    config
}

fn down() -> Behaviour {
    Behaviour {
        server_error_share: 1.0,
        ..Behaviour::default()
    }
}

async fn number(payer: &BillPayer, sql: &str) -> i64 {
    #[derive(QueryableByName)]
    struct Number {
        #[diesel(sql_type = BigInt)]
        number: i64,
    }
    let mut conn = payer.database.connect().await;
    let query = diesel::sql_query(format!("select ({sql})::bigint as number"));
    query.get_result::<Number>(&mut conn).await.unwrap().number
}

/// Waits for that many probes.
async fn probed(payer: &BillPayer, probes: i64) {
    let unspent = "select coalesce(sum(times), 0) from bill_attempts where verdict = 'unspent'";
    eventually("the provider is probed", async || {
        match number(payer, unspent).await {
            seen if seen >= probes => Ok(()),
            seen => Err(format!("{seen} times")),
        }
    })
    .await;
}

async fn all_are_paid_once(payer: &BillPayer) {
    counts(&payer.database, "paid", BILLS).await;
    let seen = provider_get(&payer.provider.url(), "/payments?limit=1").await;
    assert_eq!(seen.unwrap()["accepted"], json!(BILLS));
    let events = payer.events().await;
    assert_eq!(events.len(), 40);
    assert!(events.iter().all(|event| event.event_type == "BillPaid"));
}

#[tokio::test]
async fn an_outage_longer_than_the_retries_leaves_all_bills_paying_and_all_are_paid_after_it() {
    let payer = BillPayer::start().await;
    payer.behave(down());
    let requests: Vec<_> = (0..BILLS).map(|_| request("WIFI-1")).collect();
    let executor = Running::start(payer.executor(impatient()));
    payer.take_all(&requests).await;
    // A probe each 50 ms at most, so some 50 times the time in which a bill uses its attempts up.
    probed(&payer, 100).await;
    executor.stop().await;
    counts(&payer.database, "paying", BILLS).await;
    // Those that opened the breaker, and not one more.
    let spent = number(&payer, "select sum(attempts) from bills").await;
    assert!(spent <= 4, "{spent} attempts");
    let rows = number(&payer, "select count(*) from bill_attempts").await;
    assert!(rows <= i64::from(BILLS) + 4, "{rows} rows");
    let executor = Running::start(payer.executor(impatient()));
    payer.behave(Behaviour::default());
    all_are_paid_once(&payer).await;
    executor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_cannot_be_reached_is_an_outage_too_also_for_a_lone_bill() {
    let payer = BillPayer::start().await;
    let url = payer.provider.url();
    let proxy = Proxy::to(url.trim_start_matches("http://")).await;
    proxy.refuse();
    let client = || client(&format!("http://{}", proxy.address()), 1_000);
    let executor = Running::start(payer.executor_of(impatient(), client()));
    let payment = payer.take("WIFI-1").await;
    probed(&payer, 30).await;
    let bill = payer.bill(payment).await;
    assert_eq!(bill["status"], "paying");
    assert!(bill["attempts"].as_i64().unwrap() <= 5, "{bill}");
    proxy.restore();
    payer.becomes(payment, "paid").await;
    executor.stop().await;
}

#[tokio::test]
async fn while_the_provider_is_away_it_gets_probes_and_nothing_else() {
    let payer = BillPayer::start().await;
    payer.behave(down());
    let requests: Vec<_> = (0..BILLS).map(|_| request("WIFI-1")).collect();
    payer.take_all(&requests).await;
    let mut config = impatient();
    config.breaker_first_ms = 600_000;
    config.breaker_max_ms = 600_000;
    let mut executor = payer.executor(config);
    let mut claimed = 0;
    // The calls that were in flight when it opened, and perhaps a round of others before.
    for _ in 0..40 {
        claimed += executor.run_once().await.unwrap().claimed;
        executor.wait().await;
    }
    assert!((5..=32).contains(&claimed), "{claimed}");
    assert_eq!(executor.run_once().await.unwrap().claimed, 0);
    let calls = provider_get(&payer.provider.url(), "/payments?limit=1").await;
    assert_eq!(calls.unwrap()["calls"], json!(claimed));
}

#[tokio::test]
async fn bills_are_cancelled_while_none_can_be_paid() {
    let payer = BillPayer::start().await;
    payer.behave(down());
    let executor = Running::start(payer.executor(impatient()));
    let open = payer.take("WIFI-1").await;
    probed(&payer, 5).await;
    let half_cancelled = payer.take("WIFI-2").await;
    let mut conn = payer.database.connect().await;
    diesel::sql_query("update bills set status = 'cancelling' where account_number = 'WIFI-2'")
        .execute(&mut conn)
        .await
        .unwrap();
    payer.becomes(half_cancelled, "failed").await;
    assert_eq!(payer.bill(open).await["status"], "paying");
    executor.stop().await;
}

#[tokio::test]
async fn a_provider_that_says_when_to_come_back_is_left_alone_until_then() {
    let payer = BillPayer::start().await;
    let busy = response(
        "503 Busy\r\nretry-after: 45\r\ncontent-length: 0\r\nconnection: close",
        "",
    );
    let url = faulty(Fault::Say(busy)).await;
    for (retry_after_max_ms, at_least, at_most) in [(300_000, 44, 45), (20_000, 19, 20)] {
        let mut config = quick();
        config.retry_after_max_ms = retry_after_max_ms;
        config.breaker_failures_max = 1;
        let mut executor = payer.executor_of(config, client(&url, 1_000));
        let payment = payer.take("WIFI-1").await;
        executor.run_once().await.unwrap();
        until_recorded(&mut executor).await;
        let due = "select extract(epoch from next_attempt_at - now()) from bills";
        let seconds = number(&payer, due).await;
        let bill = payer.bill(payment).await;
        assert!(
            (at_least - 5..=at_most).contains(&seconds),
            "{seconds} {bill}"
        );
        // Not only for this bill.
        let other = payer.take("WIFI-2").await;
        for _ in 0..10 {
            assert_eq!(executor.run_once().await.unwrap().claimed, 0);
            executor.wait().await;
        }
        assert_eq!(payer.bill(other).await["attempts"], 0);
        let mut conn = payer.database.connect().await;
        diesel::sql_query("delete from bills")
            .execute(&mut conn)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_bill_is_cancelled_when_its_deadline_has_passed_whatever_attempts_are_left() {
    let payer = BillPayer::start().await;
    payer.behave(down());
    let mut config = quick();
    config.pay_deadline_ms = 1;
    config.breaker_failures_max = 1_000;
    let executor = Running::start(payer.executor(config));
    let payment = payer.take("WIFI-1").await;
    let bill = payer.becomes(payment, "failed").await;
    executor.stop().await;
    let (status, _, calls) = payer.at_provider(payment).await.unwrap();
    assert_eq!((status.as_str(), calls), ("cancelled", 2), "{bill}");
}

#[tokio::test]
async fn a_bill_half_cancelled_is_parked_at_its_deadline_in_an_outage_too() {
    let payer = BillPayer::start().await;
    let mut config = quick();
    config.pay_attempts_max = 1;
    config.cancel_deadline_ms = 300;
    config.breaker_failures_max = 2;
    let nobody: Provider = client("http://127.0.0.1:1", 200);
    let executor = Running::start(payer.executor_of(config, nobody));
    let payment = payer.take("WIFI-1").await;
    let bill = payer.becomes(payment, "parked").await;
    executor.stop().await;
    assert_eq!(bill["next_attempt_at"], Value::Null);
    assert_eq!(payer.events().await.len(), 0);
}
