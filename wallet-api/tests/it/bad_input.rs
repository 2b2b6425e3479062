//! Promise 7: bad input gets a problem with a stable type, and changes nothing.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::json;

use crate::support::WalletApi;

/// Bodies of pay-bill that must be refused: status, problem type, the field at fault, the body.
const BAD_BODIES: &[(u16, &str, &str, &str)] = &[
    (
        422,
        "invalid-request",
        "amount",
        r#"{"amount":0,"account_number":"W"}"#,
    ),
    (
        422,
        "invalid-request",
        "amount",
        r#"{"amount":"0.00","account_number":"W"}"#,
    ),
    (
        422,
        "invalid-request",
        "amount",
        r#"{"amount":-1,"account_number":"W"}"#,
    ),
    (
        422,
        "invalid-request",
        "amount",
        r#"{"amount":"-0.5","account_number":"W"}"#,
    ),
    (
        422,
        "invalid-request",
        "amount",
        r#"{"amount":0.001,"account_number":"W"}"#,
    ),
    (
        422,
        "invalid-request",
        "amount",
        r#"{"amount":"1000000000.01","account_number":"W"}"#,
    ),
    (
        422,
        "invalid-request",
        "amount",
        r#"{"amount":99999999999999999999999999999999,"account_number":"W"}"#,
    ),
    (
        422,
        "invalid-request",
        "amount",
        r#"{"amount":0.00000000000000000000000000001,"account_number":"W"}"#,
    ),
    (
        422,
        "invalid-request",
        "amount",
        r#"{"amount":"NaN","account_number":"W"}"#,
    ),
    (
        422,
        "invalid-request",
        "amount",
        r#"{"amount":"Infinity","account_number":"W"}"#,
    ),
    (
        422,
        "invalid-request",
        "amount",
        r#"{"amount":1e2,"account_number":"W"}"#,
    ),
    (
        422,
        "invalid-request",
        "amount",
        r#"{"amount":"1e2","account_number":"W"}"#,
    ),
    (
        422,
        "invalid-request",
        "amount",
        r#"{"amount":"1_000","account_number":"W"}"#,
    ),
    (
        422,
        "invalid-request",
        "amount",
        r#"{"amount":"1,000","account_number":"W"}"#,
    ),
    (
        422,
        "invalid-request",
        "amount",
        r#"{"amount":" 1","account_number":"W"}"#,
    ),
    (
        422,
        "invalid-request",
        "amount",
        r#"{"amount":"+1","account_number":"W"}"#,
    ),
    (
        422,
        "invalid-request",
        "amount",
        r#"{"amount":"01","account_number":"W"}"#,
    ),
    (
        422,
        "invalid-request",
        "amount",
        r#"{"amount":"","account_number":"W"}"#,
    ),
    (
        422,
        "invalid-request",
        "amount",
        r#"{"amount":true,"account_number":"W"}"#,
    ),
    (
        422,
        "invalid-request",
        "amount",
        r#"{"amount":null,"account_number":"W"}"#,
    ),
    (
        422,
        "invalid-request",
        "amount",
        r#"{"amount":{"value":1},"account_number":"W"}"#,
    ),
    (
        422,
        "invalid-request",
        "amount",
        r#"{"amount":[1],"account_number":"W"}"#,
    ),
    (422, "invalid-request", "", r#"{"account_number":"W"}"#),
    (422, "invalid-request", "", r#"{"amount":1}"#),
    (
        422,
        "invalid-request",
        "amont",
        r#"{"amont":1,"account_number":"W"}"#,
    ),
    (
        422,
        "invalid-request",
        "",
        r#"{"amount":1,"amount":2,"account_number":"W"}"#,
    ),
    (
        422,
        "invalid-request",
        "account_number",
        r#"{"amount":1,"account_number":""}"#,
    ),
    (
        422,
        "invalid-request",
        "account_number",
        r#"{"amount":1,"account_number":"  "}"#,
    ),
    (
        422,
        "invalid-request",
        "account_number",
        r#"{"amount":1,"account_number":"a\u0000b"}"#,
    ),
    (
        422,
        "invalid-request",
        "account_number",
        r#"{"amount":1,"account_number":"a\nb"}"#,
    ),
    (
        422,
        "invalid-request",
        "account_number",
        r#"{"amount":1,"account_number":7}"#,
    ),
    (
        422,
        "invalid-request",
        "account_number",
        r#"{"amount":1,"account_number":"12345678901234567890123456789012345678901234567890123456789012345"}"#,
    ),
    (
        422,
        "invalid-request",
        "provider",
        r#"{"amount":1,"account_number":"W","provider":"WiFi!"}"#,
    ),
    (
        422,
        "invalid-request",
        "provider",
        r#"{"amount":1,"account_number":"W","provider":null}"#,
    ),
    (
        422,
        "invalid-request",
        "currency",
        r#"{"amount":1,"account_number":"W","currency":"RUPEES"}"#,
    ),
    (422, "invalid-request", "", r#"["1",null,"W","wifi"]"#),
    (422, "invalid-request", "", r#""amount""#),
    (
        400,
        "malformed-json",
        "",
        r#"{"amount":1,"account_number":"W""#,
    ),
    (
        400,
        "malformed-json",
        "",
        r#"{"amount":1,"account_number":"W"} more"#,
    ),
    (400, "malformed-json", "", "amount=1"),
    (400, "malformed-json", "", ""),
];

#[tokio::test(flavor = "multi_thread")]
async fn bad_bodies_are_refused_by_field_and_change_nothing() {
    let api = WalletApi::start().await;
    let wallet = api.wallet("1000000000").await;
    let path = format!("/wallets/{wallet}/pay-bill");
    for (status, problem, field, body) in BAD_BODIES {
        let answer = api.post_text(&path, None, body).await;
        assert_eq!(answer.status.as_u16(), *status, "{body}: {answer:?}");
        assert_eq!(answer.problem(), *problem, "{body}");
        assert_eq!(
            answer.body["field"].as_str().unwrap_or(""),
            *field,
            "{body}: {answer:?}"
        );
        assert!(
            !answer.body["detail"].as_str().unwrap_or("").is_empty(),
            "{body}"
        );
    }
    assert_eq!(api.balance(&wallet).await, "1000000000.00");
    assert_eq!(api.count("select count(*) from payments").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_read_exactly_and_never_through_a_float() {
    let api = WalletApi::start().await;
    let wallet = api.wallet("1000000000").await;
    let path = format!("/wallets/{wallet}/pay-bill");
    // As a float this is 999999999.9900000095...
    let body = r#"{"amount":999999999.99,"account_number":"W"}"#;
    let answer = api.post_text(&path, None, body).await;
    assert_eq!(answer.body["amount"], "999999999.99");
    assert_eq!(api.balance(&wallet).await, "0.01");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_wallets_are_refused() {
    let api = WalletApi::start().await;
    for body in [
        json!({}),
        json!({ "currency": "inr" }),
        json!({ "currency": "XXX" }),
        json!({ "currency": "XAU" }),
        json!({ "currency": "HRK" }),
        json!({ "currency": "ZWL" }),
        json!({ "currency": "CLF" }),
        json!({ "currency": "INR", "opening_balance": "-1" }),
        json!({ "currency": "INR", "opening_balance": "1.005" }),
        json!({ "currency": "INR", "balance": "1" }),
    ] {
        let answer = api.post("/wallets", None, &body).await;
        assert_eq!(answer.problem(), "invalid-request", "{body}");
    }
    assert_eq!(api.count("select count(*) from wallets").await, 0);
    assert_eq!(api.count("select count(*) from accounts").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_things_and_wrong_methods_are_problems() {
    let api = WalletApi::start().await;
    let nobody = "00000000-0000-7000-8000-000000000000";
    for (path, status, problem) in [
        ("/nowhere".to_owned(), 404, "not-found"),
        ("/".to_owned(), 404, "not-found"),
        (format!("/wallets/{nobody}"), 404, "unknown-wallet"),
        (format!("/wallets/{nobody}/payments"), 404, "unknown-wallet"),
        (
            format!("/wallets/{nobody}/transfers"),
            404,
            "unknown-wallet",
        ),
        (format!("/payments/{nobody}"), 404, "not-found"),
        (
            format!("/wallets/{nobody}/pay-bill"),
            405,
            "method-not-allowed",
        ),
        ("/wallets/not-a-uuid".to_owned(), 400, "malformed-path"),
        ("/wallets?limit=0".to_owned(), 400, "malformed-query"),
        ("/wallets?limit=-1".to_owned(), 400, "malformed-query"),
        ("/wallets?page=2".to_owned(), 400, "malformed-query"),
        (
            "/wallets?before=yesterday".to_owned(),
            400,
            "malformed-query",
        ),
    ] {
        let answer = api.get(&path).await;
        assert_eq!(answer.status.as_u16(), status, "{path}: {answer:?}");
        assert_eq!(answer.problem(), problem, "{path}");
    }
    let paid = api.pay(nobody, None, "1").await;
    assert_eq!(
        (paid.status, paid.problem()),
        (StatusCode::NOT_FOUND, "unknown-wallet")
    );
    let path = format!("/wallets/{nobody}/top-ups");
    let topped_up = api.post(&path, None, &json!({ "amount": "1" })).await;
    assert_eq!(topped_up.problem(), "unknown-wallet");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_content_type_and_a_large_body_are_refused() {
    let api = WalletApi::start().await;
    let body = r#"{"currency":"INR"}"#;
    for content_type in [
        None,
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
    ] {
        let mut request = Request::post("/wallets");
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let answer = api.send(request.body(Body::from(body)).unwrap()).await;
        assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert_eq!(answer.problem(), "unsupported-media-type");
    }
    let large = format!("{{\"currency\":\"{}\"}}", "I".repeat(16 * 1024));
    let answer = api.post_text("/wallets", None, &large).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(answer.problem(), "body-too-large");
}
