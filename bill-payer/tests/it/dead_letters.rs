//! What operators do about messages that could not be taken.

use axum::http::StatusCode;
use chassis::consumer::{HandleError, Handler as _, Record};
use diesel_async::SimpleAsyncConnection as _;
use events::header;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{BillPayer, Running, count, quick, record, request};

/// A rule that a later version drops: bills of this account can't be stored.
const RULE: &str =
    "alter table bills add constraint not_yet check (account_number not like 'WIFI-NEW%')";
const NO_RULE: &str = "alter table bills drop constraint not_yet";

async fn execute(payer: &BillPayer, sql: &str) {
    let mut conn = payer.database.connect().await;
    conn.batch_execute(sql).await.unwrap();
}

/// The event of a new payment, at an offset of its own.
fn message(account_number: &str, offset: i64) -> Record {
    let mut record = record(&request(account_number));
    record.offset = offset;
    record
}

fn payment_id(record: &Record) -> Uuid {
    let payload: Value = serde_json::from_slice(record.payload.as_ref().unwrap()).unwrap();
    payload["payment_id"].as_str().unwrap().parse().unwrap()
}

/// Hands a record over as the consumer does.
async fn deliver(payer: &BillPayer, record: &Record) {
    let mut intake = payer.intake();
    match intake.handle(std::slice::from_ref(record)).await {
        Ok(()) => {}
        Err(HandleError::Reject(error)) => {
            let reason = chassis::telemetry::chain(&*error);
            intake.reject(record, &reason).await.unwrap();
        }
        Err(error @ (HandleError::Retry(_) | HandleError::Unknown(_))) => panic!("{error}"),
    }
}

/// The dead letters of a status, newest first.
async fn letters(payer: &BillPayer, status: &str) -> Vec<Value> {
    let (code, page) = payer.get(&format!("/dead-letters?status={status}")).await;
    assert_eq!(code, StatusCode::OK, "{page}");
    page["items"].as_array().unwrap().clone()
}

async fn actions(payer: &BillPayer) -> Vec<Value> {
    let page = payer.get("/operator-actions").await.1;
    page["items"].as_array().unwrap().clone()
}

async fn bills(payer: &BillPayer) -> i32 {
    count(&mut payer.database.connect().await, "paying").await
}

#[tokio::test]
async fn a_dead_letter_shows_its_bytes_headers_and_reason_and_where_it_is_from() {
    let payer = BillPayer::start().await;
    let mut broken = message("WIFI-1", 17);
    broken.payload = Some(b"{ not \xff JSON".to_vec());
    deliver(&payer, &broken).await;
    let listed = letters(&payer, "open").await.remove(0);
    let (code, shown) = payer.get(&format!("/dead-letters/{}", listed["id"])).await;
    assert_eq!(code, StatusCode::OK);
    assert_eq!(shown["payload_hex"], "7b206e6f7420ff204a534f4e");
    assert_eq!(shown["payload"], "{ not \u{fffd} JSON");
    assert_eq!(shown["payload_bytes"], 12);
    let key = String::from_utf8(broken.key.clone().unwrap()).unwrap();
    assert_eq!(shown["key"], json!(key));
    let headers = broken.header_values();
    let headers: Vec<_> = headers
        .map(|(name, value)| (name, str::from_utf8(value).unwrap()))
        .collect();
    assert_eq!(shown["headers"], json!(headers));
    assert_eq!(json!(broken.header(header::ID)), shown["event_id"]);
    let from = (&shown["topic"], &shown["partition"], &shown["offset"]);
    assert_eq!(from, (&json!("wallet.events"), &json!(0), &json!(17)));
    assert_eq!(
        (&shown["status"], &shown["retries"]),
        (&json!("open"), &json!(0))
    );
    for field in ["id", "reason", "payload", "event_id", "event_type"] {
        assert_eq!(shown[field], listed[field], "{field}");
    }
}

#[tokio::test]
async fn a_retry_takes_the_message_once_its_cause_is_gone_and_pays_once() {
    let payer = BillPayer::start().await;
    execute(&payer, RULE).await;
    let message = message("WIFI-NEW", 3);
    deliver(&payer, &message).await;
    assert_eq!(bills(&payer).await, 0);
    let letter = letters(&payer, "open").await.remove(0);
    execute(&payer, NO_RULE).await;
    let path = format!("/dead-letters/{}/retry", letter["id"]);
    let (code, answer) = payer.post(&path, "asha", json!({})).await;
    assert_eq!(
        (code, answer),
        (StatusCode::OK, json!({ "outcome": "taken" }))
    );
    let taken = letters(&payer, "taken").await.remove(0);
    assert_eq!(taken["event_id"], letter["event_id"]);
    assert_eq!(taken["retries"], 1);
    // The partition's redelivery, after a crash, brings neither the letter nor the bill back.
    deliver(&payer, &message).await;
    assert!(letters(&payer, "open").await.is_empty());
    let (code, again) = payer.post(&path, "asha", json!({})).await;
    assert_eq!(code, StatusCode::CONFLICT, "{again}");
    assert_eq!(again["type"], "urn:problem:dead-letter-ended");
    let executor = Running::start(payer.executor(quick()));
    let bill = payer.becomes(payment_id(&message), "paid").await;
    executor.stop().await;
    assert_eq!(bill["account_number"], "WIFI-NEW");
    assert_eq!(payer.events().await.len(), 1);
    assert_eq!(actions(&payer).await.len(), 1);
}

#[tokio::test]
async fn a_message_that_is_refused_again_stays_with_its_new_reason() {
    let payer = BillPayer::start().await;
    let mut broken = message("WIFI-1", 0);
    broken.payload = Some(b"{".to_vec());
    let mut intake = payer.intake();
    intake.reject(&broken, "an old reason").await.unwrap();
    execute(&payer, RULE).await;
    intake
        .reject(&message("WIFI-NEW", 1), "an old reason")
        .await
        .unwrap();
    for letter in letters(&payer, "open").await {
        let path = format!("/dead-letters/{}/retry", letter["id"]);
        let (code, answer) = payer.post(&path, "asha", json!({ "note": "again" })).await;
        assert_eq!(code, StatusCode::OK);
        assert_eq!(answer["outcome"], "refused", "{answer}");
        let after = payer
            .get(&format!("/dead-letters/{}", letter["id"]))
            .await
            .1;
        assert_eq!(after["reason"], answer["reason"]);
        assert_ne!(after["reason"], letter["reason"]);
        assert_eq!(
            (&after["status"], &after["retries"]),
            (&json!("open"), &json!(1))
        );
    }
    assert_eq!(bills(&payer).await, 0);
    assert_eq!(actions(&payer).await.len(), 2);
}

#[tokio::test]
async fn all_dead_letters_of_one_reason_are_retried_and_no_others() {
    let payer = BillPayer::start().await;
    execute(&payer, RULE).await;
    for offset in 0..3 {
        deliver(&payer, &message("WIFI-NEW", offset)).await;
    }
    let mut broken = message("WIFI-1", 3);
    broken.payload = Some(b"{".to_vec());
    deliver(&payer, &broken).await;
    let reason = letters(&payer, "open").await[1]["reason"].clone();
    let half: String = reason.as_str().unwrap().chars().take(20).collect();
    let query = format!("/dead-letters?reason={}", half.replace(' ', "%20"));
    assert_eq!(
        payer.get(&query).await.1["items"].as_array().unwrap().len(),
        3
    );
    execute(&payer, NO_RULE).await;
    let order = json!({ "reason": half, "note": "the rule is gone" });
    let (code, answer) = payer.post("/dead-letters/retry", "asha", order).await;
    assert_eq!(code, StatusCode::OK, "{answer}");
    assert_eq!(
        answer,
        json!({ "taken": 3, "refused": 0, "next_after": null })
    );
    assert_eq!(bills(&payer).await, 3);
    assert_eq!(letters(&payer, "open").await.len(), 1);
    assert_eq!(actions(&payer).await.len(), 3);
}

#[tokio::test]
async fn a_dead_letter_is_discarded_with_a_note_and_not_without_one() {
    let payer = BillPayer::start().await;
    let mut broken = message("WIFI-1", 0);
    broken.payload = None;
    deliver(&payer, &broken).await;
    let id = letters(&payer, "open").await[0]["id"].clone();
    let path = format!("/dead-letters/{id}/discard");
    for note in [json!({}), json!({ "note": " " }), json!({ "note": "a\nb" })] {
        let (code, problem) = payer.post(&path, "asha", note).await;
        assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(problem["field"], "note");
    }
    assert_eq!(letters(&payer, "open").await.len(), 1);
    let note = json!({ "note": "a test of ours" });
    let (code, _) = payer.post(&path, "asha", note.clone()).await;
    assert_eq!(code, StatusCode::NO_CONTENT);
    // It is not shown any longer, and a redelivery does not bring it back.
    deliver(&payer, &broken).await;
    assert!(letters(&payer, "open").await.is_empty());
    assert_eq!(letters(&payer, "discarded").await[0]["id"], id);
    assert_eq!(
        payer.post(&path, "asha", note).await.0,
        StatusCode::CONFLICT
    );
    assert_eq!(actions(&payer).await.len(), 1);
}

#[tokio::test]
async fn every_action_leaves_a_row_that_nobody_changes() {
    let payer = BillPayer::start().await;
    for offset in 0..2 {
        let mut broken = message("WIFI-1", offset);
        broken.payload = None;
        deliver(&payer, &broken).await;
    }
    let open = letters(&payer, "open").await;
    let path = |letter: &Value, action: &str| format!("/dead-letters/{}/{action}", letter["id"]);
    let refused = payer
        .post(&path(&open[0], "retry"), "asha", json!({}))
        .await;
    assert_eq!(refused.1["outcome"], "refused");
    let why = json!({ "note": "not ours" });
    payer.post(&path(&open[1], "discard"), "ravi", why).await;
    let actions = actions(&payer).await;
    let row = |action: &Value| {
        ["operator", "action", "subject", "note"].map(|field| action[field].clone())
    };
    let subject = |letter: &Value| json!(format!("dead_letter/{}", letter["id"]));
    assert_eq!(
        actions.iter().map(row).collect::<Vec<_>>(),
        [
            [
                json!("ravi"),
                json!("discard"),
                subject(&open[1]),
                json!("not ours")
            ],
            [
                json!("asha"),
                json!("retry"),
                subject(&open[0]),
                Value::Null
            ],
        ]
    );
    let mut conn = payer.database.connect().await;
    for change in [
        "update operator_actions set operator = 'nobody'",
        "delete from operator_actions",
        "truncate operator_actions",
        "insert into operator_actions (operator, action, subject) values ('', 'retry', 'x')",
        "insert into operator_actions (operator, action, subject) values ('a', 'discard', 'x')",
    ] {
        assert!(conn.batch_execute(change).await.is_err(), "{change}");
    }
}

#[tokio::test]
async fn a_retry_and_its_row_are_there_together_or_neither_is() {
    let payer = BillPayer::start().await;
    let mut intake = payer.intake();
    intake
        .reject(&message("WIFI-1", 0), "by hand")
        .await
        .unwrap();
    execute(
        &payer,
        "alter table operator_actions add constraint trusted check (operator <> 'mallory')",
    )
    .await;
    let id = letters(&payer, "open").await[0]["id"].clone();
    let path = format!("/dead-letters/{id}/retry");
    let (code, _) = payer.post(&path, "mallory", json!({})).await;
    assert_eq!(code, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(bills(&payer).await, 0);
    assert_eq!(letters(&payer, "open").await[0]["retries"], 0);
}

/// What is asked of which path, and what that is answered.
type BadOrder<'a> = (&'a str, Value, u16, &'a str);

async fn are_answered(payer: &BillPayer, orders: &[BadOrder<'_>]) {
    for (path, order, status, problem) in orders {
        let (code, answer) = payer.post(path, "asha", order.clone()).await;
        assert_eq!(code.as_u16(), *status, "{path} {order}: {answer}");
        let kind = format!("urn:problem:{problem}");
        assert_eq!(answer["type"], kind, "{path} {order}");
    }
}

#[tokio::test]
async fn a_bad_order_gets_a_problem_and_does_nothing() {
    let payer = BillPayer::start().await;
    let by_hand = message("WIFI-1", 0);
    let mut intake = payer.intake();
    intake.reject(&by_hand, "by hand").await.unwrap();
    let id = letters(&payer, "open").await[0]["id"].clone();
    let one = format!("/dead-letters/{id}/retry");
    let (many, long) = ("/dead-letters/retry", "x".repeat(1_001));
    let orders = [
        (&*one, json!({ "note": long }), 422, "invalid-request"),
        (&*one, json!({ "force": true }), 422, "invalid-request"),
        (&*one, json!([]), 422, "invalid-request"),
        ("/dead-letters/0/retry", json!({}), 404, "not-found"),
        ("/dead-letters/x/retry", json!({}), 400, "malformed-path"),
        (many, json!({}), 422, "invalid-request"),
        (many, json!({ "reason": " " }), 422, "invalid-request"),
        ("/dead-letters", json!({}), 405, "method-not-allowed"),
    ];
    are_answered(&payer, &orders).await;
    for nobody in ["", &long] {
        let (code, answer) = payer.post(&one, nobody, json!({})).await;
        assert_eq!(code, StatusCode::BAD_REQUEST);
        assert_eq!(answer["type"], "urn:problem:operator-missing");
    }
    for path in [
        "/dead-letters?status=lost",
        "/dead-letters?before=x",
        "/operator-actions?limit=0",
    ] {
        assert_eq!(payer.get(path).await.0, StatusCode::BAD_REQUEST, "{path}");
    }
    assert!(actions(&payer).await.is_empty());
    assert_eq!(bills(&payer).await, 0);
}

#[tokio::test]
async fn a_bad_order_about_a_bill_gets_a_problem_and_does_nothing() {
    let payer = BillPayer::start().await;
    let unknown = format!("/bills/{}/retry", Uuid::now_v7());
    let orders = [
        (&*unknown, json!({}), 404, "not-found"),
        (
            &*unknown,
            json!({ "ask": "refund" }),
            422,
            "invalid-request",
        ),
        ("/bills/42/retry", json!({}), 400, "malformed-path"),
        ("/bills/retry", json!({}), 422, "invalid-request"),
        (
            "/bills/retry",
            json!({ "reason": "a\0" }),
            422,
            "invalid-request",
        ),
    ];
    are_answered(&payer, &orders).await;
    let (code, answer) = payer.post(&unknown, "", json!({})).await;
    assert_eq!(code, StatusCode::BAD_REQUEST);
    assert_eq!(answer["type"], "urn:problem:operator-missing");
    assert!(actions(&payer).await.is_empty());
}

#[tokio::test]
async fn dead_letters_are_found_by_what_they_hold_and_discarded_together_each_on_record() {
    let payer = BillPayer::start().await;
    let mut ids = Vec::new();
    for (offset, account) in ["LOAD-1", "LOAD-2", "WIFI-1"].into_iter().enumerate() {
        let mut broken = message(account, i64::try_from(offset).unwrap());
        let payload = format!("{{ not JSON of {account}").into_bytes();
        broken.payload = Some(payload);
        ids.push(broken.header(header::ID).unwrap().to_owned());
        deliver(&payer, &broken).await;
    }
    let found = async |search: &str| {
        let (code, page) = payer.get(&format!("/dead-letters?search={search}")).await;
        assert_eq!(code, StatusCode::OK, "{page}");
        let items = page["items"].as_array().unwrap().clone();
        items
            .iter()
            .map(|item| item["offset"].as_i64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(found("LOAD-").await, [1, 0], "in the payload");
    assert_eq!(found(&ids[2]).await, [2], "in a header");
    assert_eq!(
        found("payload%20is%20not").await,
        [2, 1, 0],
        "in the reason"
    );
    assert_eq!(found("nothing-like-it").await, Vec::<i64>::new());

    let all = "/dead-letters/discard";
    for (order, field) in [
        (json!({ "search": "LOAD-" }), "note"),
        (json!({ "note": "all of them" }), "reason"),
    ] {
        let (code, problem) = payer.post(all, "asha", order).await;
        assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
        assert_eq!(problem["field"], field);
    }
    let order = json!({ "search": "LOAD-", "note": "our load test" });
    let (code, answer) = payer.post(all, "asha", order).await;
    assert_eq!(
        (code, &answer["discarded"]),
        (StatusCode::OK, &json!(2)),
        "{answer}"
    );
    assert_eq!(letters(&payer, "open").await.len(), 1);
    assert_eq!(letters(&payer, "discarded").await.len(), 2);
    let actions = actions(&payer).await;
    assert_eq!(actions.len(), 2, "one row each");
    assert_eq!(actions[0]["note"], "our load test");
}
