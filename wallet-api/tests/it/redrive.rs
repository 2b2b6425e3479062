//! An operator has the events of pending payments published again.

use std::process::Command;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use chassis::consumer::Handler as _;
use diesel_async::SimpleAsyncConnection as _;
use serde_json::{Value, json};
use uuid::Uuid;
use wallet_api::settlement::Settlement;

use crate::settlement::paid;
use crate::support::{Answer, WalletApi};

async fn order(api: &WalletApi, path: &str, body: &Value) -> Answer {
    let request = Request::post(path)
        .header("x-operator", "asha")
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()));
    api.send(request.unwrap()).await
}

/// The events of a payment, oldest first, without what says that one was redriven.
async fn events(api: &WalletApi, payment: &str) -> Vec<String> {
    api.texts(&format!(
        "select (payload - 'redriven')::text as text from outbox \
         where payload->>'payment_id' = '{payment}' order by seq"
    ))
    .await
}

async fn settle(api: &WalletApi, wallet: &str, payment: &str) {
    let result = paid(0, wallet, payment, "2.00");
    let taken = Settlement::new(api.pool.clone()).handle(&[result]).await;
    taken.expect("the result is taken");
}

/// Payments of 1 that have been pending for two hours.
async fn old_payments(api: &WalletApi, wallet: &str, count: u32) {
    let mut conn = api.database.connect().await;
    conn.batch_execute(&format!(
        "insert into payments (id, wallet_id, amount, currency, provider, account_number, idempotency_key, \
             fingerprint, created_at) \
         select gen_random_uuid(), '{wallet}', 1, 'INR', 'wifi', 'W', 'old-' || nth, '', now() - interval '2 h' \
         from generate_series(1, {count}) as nth"
    ))
    .await
    .expect("the payments are there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pending_payment_is_redriven_as_it_was_asked_for_and_on_record() {
    let api = WalletApi::start().await;
    let wallet = api.wallet("10").await;
    let payment = api.pay(&wallet, Some("march"), "2").await.id();
    let path = format!("/payments/{payment}/redrive");
    let answer = order(&api, &path, &json!({ "note": "the audit says LOST" })).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
    let sent = events(&api, &payment).await;
    assert_eq!((sent.len(), &sent[0]), (2, &sent[1]));
    assert!(
        sent[0].contains(r#""idempotency_key": "march""#),
        "{sent:?}"
    );
    // An id of its own: no inbox takes it for a redelivery.
    assert_eq!(api.count("select count(distinct id) from outbox").await, 2);
    let redriven = "select count(*) from outbox where (payload->>'redriven')::bool \
         and seq = (select max(seq) from outbox)";
    assert_eq!(api.count(redriven).await, 1);
    let actions = api.get("/operator-actions").await.body;
    let action = &actions["items"][0];
    let subject = format!("payment/{payment}");
    assert_eq!(
        [
            &action["operator"],
            &action["action"],
            &action["subject"],
            &action["note"]
        ],
        ["asha", "redrive", &subject, "the audit says LOST"]
    );
    assert_eq!(api.balance(&wallet).await, "8.00");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_has_ended_or_is_unknown_is_refused() {
    let api = WalletApi::start().await;
    let wallet = api.wallet("10").await;
    let payment = api.pay(&wallet, None, "2").await.id();
    settle(&api, &wallet, &payment).await;
    let ended = order(&api, &format!("/payments/{payment}/redrive"), &json!({})).await;
    assert_eq!(
        (ended.status, ended.problem()),
        (StatusCode::CONFLICT, "payment-ended")
    );
    let path = format!("/payments/{}/redrive", Uuid::now_v7());
    let unknown = order(&api, &path, &json!({})).await;
    assert_eq!(
        (unknown.status, unknown.problem()),
        (StatusCode::NOT_FOUND, "not-found")
    );
    let nobody = api
        .post(&format!("/payments/{payment}/redrive"), None, &json!({}))
        .await;
    assert_eq!(nobody.problem(), "operator-missing");
    for body in [
        json!({}),
        json!({ "pending_for": "1 hour" }),
        json!({ "pending_for": 60 }),
    ] {
        let answer = order(&api, "/payments/redrive", &body).await;
        assert_eq!(
            answer.status,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{body}: {answer:?}"
        );
    }
    assert_eq!(api.count("select count(*) from outbox").await, 1);
    assert_eq!(api.count("select count(*) from operator_actions").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_that_have_been_pending_for_long_are_redriven_in_bounded_parts() {
    let api = WalletApi::start().await;
    let wallet = api.wallet("10").await;
    old_payments(&api, &wallet, 600).await;
    let young = api.pay(&wallet, None, "1").await.id();
    let mut after = json!(Uuid::nil());
    let mut parts = Vec::new();
    while !after.is_null() {
        let body = json!({ "pending_for": "1h", "after": after });
        let answer = order(&api, "/payments/redrive", &body).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        parts.push(answer.body["redriven"].clone());
        after = answer.body["next_after"].clone();
    }
    assert_eq!(parts, [500, 100]);
    let redriven = "select count(distinct payload->>'payment_id') from outbox where payload->>'redriven' = 'true'";
    assert_eq!(api.count(redriven).await, 600);
    assert_eq!(events(&api, &young).await.len(), 1);
    assert_eq!(
        api.count("select count(*) from operator_actions").await,
        600
    );
}

/// The order of `seq` is that of commits for each wallet: nobody appends for it before its lock is had.
#[tokio::test(flavor = "multi_thread")]
async fn a_redrive_appends_nothing_before_it_has_the_wallets_lock() {
    let api = WalletApi::start().await;
    let wallet = api.wallet("10").await;
    let payment = api.pay(&wallet, None, "2").await.id();
    let lock = format!("select from wallets where id = '{wallet}' for update");
    let lock = api.database.in_the_way(&lock).await;
    let (path, seq) = (
        format!("/payments/{payment}/redrive"),
        "select nextval('outbox_seq_seq') as count",
    );
    let before = api.count(seq).await;
    let (answer, ()) = tokio::join!(async { order(&api, &path, &json!({})).await }, async {
        api.database.somebody_waits().await;
        assert_eq!(
            api.count(seq).await,
            before + 1,
            "no seq was given out meanwhile"
        );
        lock.clear().await;
    });
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    assert_eq!(events(&api, &payment).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_goes_on_with_the_others_and_fails_if_one_was_refused() {
    let api = WalletApi::start().await;
    let wallet = api.wallet("10").await;
    let ended = api.pay(&wallet, None, "2").await.id();
    settle(&api, &wallet, &ended).await;
    let pending = api.pay(&wallet, None, "1").await.id();
    let unknown = Uuid::now_v7().to_string();
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_wallet-api"))
            .env_clear()
            .env("DATABASE_URL", api.database.url())
            .args(["payments", "redrive"])
            .args(arguments)
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    let (code, said) = run(&[&ended, &unknown, &pending, "--operator", "asha"]);
    assert_eq!(code, Some(1), "{said}");
    for line in [
        format!("payment {ended} is paid, not pending"),
        format!("there is no payment {unknown}"),
        format!("{pending} is on its way again."),
    ] {
        assert!(said.contains(&line), "{said}");
    }
    assert_eq!(events(&api, &pending).await.len(), 2);
    old_payments(&api, &wallet, 501).await;
    let many = [
        "--pending-for",
        "1h",
        "--operator",
        "asha",
        "--note",
        "Kafka was lost",
    ];
    let (code, said) = run(&many);
    assert_eq!(
        (code, said.as_str()),
        (Some(0), "501 are on their way again.\n")
    );
    // An operator has to be named, and either ids or an age.
    for arguments in [&[pending.as_str()] as &[&str], &["--operator", "asha"]] {
        assert_eq!(run(arguments).0, Some(2));
    }
}
