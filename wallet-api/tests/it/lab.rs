//! What only the lab may ask for is refused elsewhere, and nothing is written.

use axum::http::StatusCode;
use wallet_api::config::Lab;
use wallet_api::pattern::Pattern;

use crate::support::WalletApi;

#[tokio::test(flavor = "multi_thread")]
async fn without_the_lab_its_headers_are_refused() {
    let api = WalletApi::start().await;
    let wallet = api.wallet("10").await;
    for header in [
        ("x-pay-pattern", "outbox"),
        ("x-pay-pattern", "dual-write"),
        ("x-pay-pattern", "?"),
        ("x-lab-crash", "between"),
        ("x-lab-crash", ""),
        ("x-pay-pattern", "publish-first"),
        ("x-lab-hold", "1"),
    ] {
        let answer = api.pay_with(&wallet, None, &[header]).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{header:?}");
        assert_eq!(answer.problem(), "lab-only", "{header:?}");
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains(header.0), "{detail}");
    }
    assert_eq!(api.balance(&wallet).await, "10.00");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lab_refuses_what_it_does_not_know() {
    let api = WalletApi::with_pattern(Pattern::Outbox, Lab::On).await;
    let wallet = api.wallet("10").await;
    let twice = [("x-lab-crash", "between"), ("x-lab-crash", "between")];
    for headers in [
        &[("x-pay-pattern", "two-phase-commit")][..],
        &[("x-pay-pattern", "Outbox")],
        &[("x-pay-pattern", "")],
        &[("x-lab-crash", "later")],
        &[("x-lab-crash", "schön")],
        &[("x-lab-hold", "soon")],
        &[("x-lab-hold", "1"), ("x-lab-crash", "between")],
        &twice,
    ] {
        let answer = api.pay_with(&wallet, None, headers).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{headers:?}");
        assert_eq!(answer.problem(), "invalid-lab-header", "{headers:?}");
    }
    assert_eq!(api.balance(&wallet).await, "10.00");
    let answer = api
        .pay_with(&wallet, None, &[("x-pay-pattern", "outbox")])
        .await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
}
