//! Group commit: one code path, and nobody is hurt by a neighbour.

use std::sync::Arc;

use axum::http::StatusCode;
use diesel_async::SimpleAsyncConnection as _;
use serde_json::json;
use testkit::eventually;
use wallet_api::config::WriterConfig;

use crate::support::WalletApi;

/// Hands in one payment of each amount, and waits until all of them are in the queue.
fn queue_up(
    api: &Arc<WalletApi>,
    wallet: &str,
    account_numbers: &[&str],
) -> tokio::task::JoinSet<(String, StatusCode)> {
    let mut requests = tokio::task::JoinSet::new();
    for account_number in account_numbers {
        let (api, wallet) = (Arc::clone(api), wallet.to_owned());
        let account_number = (*account_number).to_owned();
        requests.spawn(async move {
            let body = json!({ "amount": "1", "account_number": account_number });
            let answer = api
                .post(&format!("/wallets/{wallet}/pay-bill"), None, &body)
                .await;
            (account_number, answer.status)
        });
    }
    requests
}

#[tokio::test(flavor = "current_thread")]
async fn payments_that_wait_together_are_written_in_one_transaction() {
    let (api, writers) = WalletApi::with_writers(&WriterConfig::default()).await;
    let api = Arc::new(api);
    let wallet = api.wallet("100").await;
    let requests = queue_up(&api, &wallet, &["a", "b", "c", "d"]);
    let mut written = 0;
    // One thread: all four have handed in before the writer is woken by the first.
    while written < 4 {
        written += writers[0].run_once().await;
    }
    for (_, status) in requests.join_all().await {
        assert_eq!(status, StatusCode::ACCEPTED);
    }
    let transactions = "select count(distinct xmin::text) as count from payments";
    assert_eq!(api.count(transactions).await, 1);
}

#[tokio::test(flavor = "current_thread")]
async fn a_payment_that_the_database_refuses_does_not_hurt_its_neighbours() {
    let (api, writers) = WalletApi::with_writers(&WriterConfig::default()).await;
    let api = Arc::new(api);
    let wallet = api.wallet("100").await;
    let mut conn = api.database.connect().await;
    conn.batch_execute("alter table payments add check (account_number <> 'poison')")
        .await
        .expect("the trap is set");
    let requests = queue_up(&api, &wallet, &["a", "poison", "b"]);
    let mut written = 0;
    while written < 3 {
        written += writers[0].run_once().await;
    }
    for (account_number, status) in requests.join_all().await {
        let expected = if account_number == "poison" {
            StatusCode::INTERNAL_SERVER_ERROR
        } else {
            StatusCode::ACCEPTED
        };
        assert_eq!(status, expected, "{account_number}");
    }
    assert_eq!(api.balance(&wallet).await, "98.00");
    api.assert_money_is_conserved().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_is_tried_again_and_pays_once() {
    let api = Arc::new(WalletApi::start().await);
    let wallet = api.wallet("100").await;
    // In the way: the payment's transaction waits for this lock.
    let lock = format!("select from wallets where id = '{wallet}' for update");
    let lock = api.database.in_the_way(&lock).await;
    let requests = queue_up(&api, &wallet, &["a"]);
    api.database.somebody_waits().await;
    assert_eq!(api.database.end_waiting_sessions().await, 1);
    lock.clear().await;
    for (_, status) in requests.join_all().await {
        assert_eq!(status, StatusCode::ACCEPTED);
    }
    assert_eq!(api.balance(&wallet).await, "99.00");
    assert_eq!(api.count("select count(*) from payments").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_drops_no_transaction() {
    let api = Arc::new(WalletApi::start().await);
    let wallet = api.wallet("100").await;
    let lock = format!("select from wallets where id = '{wallet}' for update");
    let lock = api.database.in_the_way(&lock).await;
    let mut requests = queue_up(&api, &wallet, &["a"]);
    api.database.somebody_waits().await;
    requests.abort_all();
    while requests.join_next().await.is_some() {}
    lock.clear().await;
    eventually("the payment is written nevertheless", async || {
        match api.balance(&wallet).await.as_str() {
            "99.00" => Ok(()),
            seen => Err(seen.to_owned()),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_answers_503_and_when_to_come_back() {
    let config = WriterConfig {
        payment_queue_max: 2,
        ..WriterConfig::default()
    };
    // No writer runs: the queue only fills.
    let (api, writers) = WalletApi::with_writers(&config).await;
    let api = Arc::new(api);
    let wallet = api.wallet("100").await;
    let mut requests = queue_up(&api, &wallet, &["a", "b", "c"]);
    let (_, refused) = tokio::time::timeout(testkit::DEADLINE, requests.join_next())
        .await
        .expect("the third finds no room in the queue")
        .expect("one of three is answered")
        .expect("the request does not panic");
    assert_eq!(refused, StatusCode::SERVICE_UNAVAILABLE);
    let answer = api.pay(&wallet, Some("mine"), "1").await;
    assert_eq!(answer.problem(), "queue-full");
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(answer.header("idempotency-key"), "mine");
    drop(writers);
    assert_eq!(api.balance(&wallet).await, "100.00");
}
