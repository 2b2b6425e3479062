//! What operators do about results that could not be taken: the same routes and commands as bill-payer's.

use std::process::Command;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use chassis::consumer::{Handler as _, Record};
use diesel_async::SimpleAsyncConnection as _;
use serde_json::{Value, json};
use testkit::TopicReader;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wallet_api::config::Lab;
use wallet_api::pattern::Pattern;
use wallet_api::patterns::{Commands, MessageTimeout, Publisher};
use wallet_api::settlement::Settlement;

use crate::settlement::failed;
use crate::support::WalletApi;

pub(crate) async fn take(api: &WalletApi, record: &Record) {
    let mut settlement = Settlement::new(api.pool.clone());
    let taken = settlement.handle(std::slice::from_ref(record)).await;
    taken.expect("the result is taken");
}

pub(crate) async fn letter(api: &WalletApi) -> Value {
    let page = api.get("/dead-letters").await.body;
    page["items"][0].clone()
}

async fn retry(api: &WalletApi, letter: &Value) -> (StatusCode, Value) {
    let request = Request::post(format!("/dead-letters/{}/retry", letter["id"]))
        .header("x-operator", "asha")
        .body(Body::empty());
    let answer = api.send(request.unwrap()).await;
    (answer.status, answer.body)
}

/// A payment of 2.00 that this database does not have yet, as one that is restored from a backup.
pub(crate) async fn restore(api: &WalletApi, wallet: &str, payment: &str, key: &str) {
    let like = api.pay(wallet, None, "2").await.id();
    let mut conn = api.database.connect().await;
    conn.batch_execute(&format!(
        "insert into payments (id, wallet_id, amount, currency, provider, account_number, idempotency_key, fingerprint) \
             select '{payment}', wallet_id, amount, currency, provider, account_number, '{key}', fingerprint \
             from payments where id = '{like}'; \
         insert into transfers (id, kind, debit_account, credit_account, amount, payment_id) \
             select gen_random_uuid(), kind, debit_account, credit_account, amount, '{payment}' \
             from transfers where payment_id = '{like}'; \
         update wallets set balance = balance - 2 where id = '{wallet}'"
    ))
    .await
    .expect("the payment is restored");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_of_an_unknown_payment_settles_by_a_retry_once_the_payment_is_there() {
    let api = WalletApi::start().await;
    let wallet = api.wallet("10").await;
    let payment = Uuid::now_v7().to_string();
    let result = failed(0, &wallet, &payment, "2.00");
    take(&api, &result).await;
    let open = letter(&api).await;
    // The retry is too early: the dead letter stays, and the inbox knows its event by now.
    let (status, answer) = retry(&api, &open).await;
    assert_eq!(
        (status, &answer["outcome"]),
        (StatusCode::OK, &json!("refused"))
    );
    restore(&api, &wallet, &payment, "restored").await;
    assert_eq!(api.balance(&wallet).await, "6.00");
    let (status, answer) = retry(&api, &open).await;
    assert_eq!(
        (status, answer),
        (StatusCode::OK, json!({ "outcome": "taken" }))
    );
    assert_eq!(api.balance(&wallet).await, "8.00");
    let event = open["event_id"].as_str().unwrap();
    let seen = format!("select count(*) from inbox where event_id = '{event}'");
    assert_eq!(api.count(&seen).await, 1);
    // Neither the topic nor an operator can have it twice.
    take(&api, &result).await;
    take(&api, &failed(1, &wallet, &payment, "2.00")).await;
    assert_eq!(retry(&api, &open).await.0, StatusCode::CONFLICT);
    assert_eq!(
        letter(&api).await,
        Value::Null,
        "the payment says the same already"
    );
    assert_eq!(api.balance(&wallet).await, "8.00");
    let refunds = "select count(*) from transfers where kind = 'refund'";
    assert_eq!(api.count(refunds).await, 1);
    api.assert_money_is_conserved().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_of_an_unknown_wallet_pays_by_a_retry_once_the_wallet_is_there() {
    let api = WalletApi::with_pattern(Pattern::ListenToYourself, Lab::Off).await;
    let topic = api.kafka.prefixed(events::COMMAND_TOPIC);
    let topic = TopicReader::create(&topic, 1).await;
    let wallet = Uuid::now_v7();
    let payment = api.pay(&wallet.to_string(), None, "2").await.id();
    let payment: Uuid = payment.parse().unwrap();
    let command = topic.next().await;
    let publisher = Publisher::new(&api.kafka, MessageTimeout::Never).unwrap();
    let mut commands = Commands::new(api.pool.clone(), publisher, CancellationToken::new());
    let taken = commands.handle(std::slice::from_ref(&command)).await;
    taken.expect("the command is put aside");
    let open = letter(&api).await;
    let (_, answer) = retry(&api, &open).await;
    assert_eq!(answer["outcome"], "refused", "{answer}");
    assert_eq!(answer["reason"], open["reason"]);

    let like = api.wallet("10").await;
    let mut conn = api.database.connect().await;
    conn.batch_execute(&format!(
        "insert into accounts (id, kind, currency) values ('{wallet}', 'wallet', 'INR'); \
         insert into wallets (id, currency, balance) select '{wallet}', currency, balance from wallets \
             where id = '{like}'; \
         insert into transfers (id, kind, debit_account, credit_account, amount) \
             select gen_random_uuid(), kind, debit_account, '{wallet}', amount from transfers \
             where credit_account = '{like}'"
    ))
    .await
    .expect("the wallet is restored");
    let (_, answer) = retry(&api, &open).await;
    assert_eq!(answer, json!({ "outcome": "taken" }));
    assert_eq!(api.balance(&wallet.to_string()).await, "8.00");
    // The outbox publishes the event, under the id that each redelivery of the command would use.
    let id = Uuid::new_v5(&payment, events::BillPaymentRequested::TYPE.as_bytes());
    let event = format!("select count(*) from outbox where id = '{id}'");
    assert_eq!(api.count(&event).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_are_those_of_bill_payer() {
    let api = WalletApi::start().await;
    let wallet = api.wallet("10").await;
    take(
        &api,
        &failed(0, &wallet, &Uuid::now_v7().to_string(), "2.00"),
    )
    .await;
    let id = letter(&api).await["id"].to_string();
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_wallet-api"))
            .env_clear()
            .env("DATABASE_URL", api.database.url())
            .env("OPERATOR", "asha")
            .args(arguments)
            .output()
            .unwrap();
        (
            output.status.success(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    let (well, listed) = run(&["dead-letters", "list", "--reason", "no pending payment"]);
    assert!(well && listed.contains("BillPaymentFailed"), "{listed}");
    assert!(!run(&["dead-letters", "retry", &id]).0);
    assert!(!run(&["dead-letters", "discard", &id]).0);
    assert!(run(&["dead-letters", "discard", &id, "--note", "a test"]).0);
    assert_eq!(run(&["dead-letters", "list"]).1, "There are none.\n");
    let (well, actions) = run(&["operator-actions"]);
    assert!(well && actions.lines().count() == 3, "{actions}");
}
