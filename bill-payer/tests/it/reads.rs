//! The API: bills to look at, and what bad requests are answered.

use axum::http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{BillPayer, blank, request};

fn ids(page: &Value) -> Vec<Value> {
    let items = page["items"].as_array().unwrap().iter();
    items.map(|bill| bill["payment_id"].clone()).collect()
}

#[tokio::test]
async fn an_open_bill_shows_what_is_asked_for_and_when_it_is_due() {
    let payer = BillPayer::start().await;
    let mut request = request("WIFI-1");
    request.payment_id = Uuid::from_u128(0x0198_c5f0_7b1c_7d52_9c7e_1f3f_5a2b_8c4d);
    request.wallet_id = Uuid::from_u128(0x0198_c5f0_7b1c_7d52_9c7e_0000_0000_0001);
    request.money = serde_json::from_value(json!({ "amount": "1.5", "currency": "KWD" })).unwrap();
    payer.take_all(std::slice::from_ref(&request)).await;
    let bill = payer.bill(request.payment_id).await;
    let times = ["next_attempt_at", "created_at", "updated_at"];
    insta::assert_json_snapshot!("open_bill", blank(bill, &times));
}

#[tokio::test]
async fn bills_come_newest_first_a_page_at_a_time() {
    let payer = BillPayer::start().await;
    let mut expected = Vec::new();
    for _ in 0..5 {
        expected.insert(0, json!(payer.take("WIFI-1").await));
    }
    let (_, first) = payer.get("/bills?limit=2").await;
    let next = first["next_before"].as_str().unwrap();
    let (_, second) = payer.get(&format!("/bills?limit=2&before={next}")).await;
    let next = second["next_before"].as_str().unwrap();
    let (_, third) = payer.get(&format!("/bills?limit=2&before={next}")).await;
    assert_eq!([ids(&first), ids(&second), ids(&third)].concat(), expected);
    assert_eq!(third["next_before"], Value::Null);
}

#[tokio::test]
async fn a_bill_whose_id_has_another_time_is_listed_where_it_was_taken_in() {
    let payer = BillPayer::start().await;
    let mut expected = Vec::new();
    for number in 0..4 {
        let mut request = request("WIFI-1");
        // As of wallet-api's listen-to-yourself, with the wallet's time.
        if number % 2 == 1 {
            request.payment_id =
                Uuid::from_u128(0x0190_0000_0000_8000_8000_0000_0000_0000 - number);
        }
        payer.take_all(std::slice::from_ref(&request)).await;
        expected.insert(0, json!(request.payment_id));
    }
    let (_, first) = payer.get("/bills?limit=2&status=paying").await;
    let next = first["next_before"].as_str().unwrap();
    let (_, second) = payer.get(&format!("/bills?limit=2&before={next}")).await;
    assert_eq!([ids(&first), ids(&second)].concat(), expected);
    let unknown = Uuid::now_v7();
    let (_, refused) = payer.get(&format!("/bills?before={unknown}")).await;
    assert_eq!(refused["field"], "before", "{refused}");
}

#[tokio::test]
async fn bills_of_one_status_can_be_asked_for() {
    let payer = BillPayer::start().await;
    let open = payer.take("WIFI-1").await;
    assert_eq!(
        ids(&payer.get("/bills?status=paying").await.1),
        [json!(open)]
    );
    for status in ["cancelling", "parked", "paid", "failed"] {
        let (code, page) = payer.get(&format!("/bills?status={status}")).await;
        assert_eq!((code, ids(&page).len()), (StatusCode::OK, 0));
    }
}

#[tokio::test]
async fn a_bad_request_gets_a_problem() {
    let payer = BillPayer::start().await;
    let unknown = format!("/bills/{}", Uuid::now_v7());
    for (path, status, problem) in [
        ("/bills/42", 400, "malformed-path"),
        (unknown.as_str(), 404, "not-found"),
        ("/bills?status=lost", 400, "malformed-query"),
        ("/bills?limit=0", 400, "malformed-query"),
        ("/bills?limit=many", 400, "malformed-query"),
        ("/bills?before=42", 400, "malformed-query"),
        ("/bills?state=paid", 400, "malformed-query"),
        ("/payments", 404, "not-found"),
    ] {
        let (code, answer) = payer.get(path).await;
        assert_eq!(code.as_u16(), status, "{path}: {answer}");
        assert_eq!(answer["type"], format!("urn:problem:{problem}"), "{path}");
        let detail = answer["detail"].as_str().unwrap();
        for parsers in ["parse", "parsing", "deserialize", "digit"] {
            assert!(!detail.contains(parsers), "{path}: {detail}");
        }
    }
}
