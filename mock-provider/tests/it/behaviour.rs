//! The provider misbehaves as it is told to, and no more.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use mock_provider::Behaviour;
use serde_json::json;

use crate::setup::{bill, provider};

#[tokio::test]
async fn settings_are_taken_whole_and_what_is_left_out_is_the_default() {
    let (_provider, api) = provider().await;
    let default = json!({
        "latency_ms": 0, "server_error_share": 0.0, "timeout_share": 0.0, "timeout_ms": 60_000,
        "decline_share": 0.0, "declined_accounts": [],
    });
    assert_eq!(api.get("/behaviour").await.body, default);
    let all = json!({
        "latency_ms": 1, "server_error_share": 0.25, "timeout_share": 0.25, "timeout_ms": 2,
        "decline_share": 0.5, "declined_accounts": ["WIFI-1", "WIFI-2"],
    });
    let reply = api.behave(all.clone()).await;
    assert_eq!((reply.status, &reply.body), (200, &all));
    assert_eq!(api.get("/behaviour").await.body, all);
    assert_eq!(api.behave(json!({})).await.body, default);
}

#[tokio::test]
async fn settings_out_of_range_change_nothing() {
    let (_provider, api) = provider().await;
    let before = api.behave(json!({"latency_ms": 7})).await.body;
    for wrong in [
        json!({"server_error_share": 1.1}),
        json!({"timeout_share": -0.1}),
        json!({"server_error_share": 0.5, "timeout_share": 0.5, "decline_share": 0.1}),
        json!({"latency_ms": -1}),
        json!({"latency_ms": 600_001}),
        json!({"latency_ms": 1.5}),
        json!({"latency_ms": "1"}),
        json!({"latency_ms": null}),
        json!({"latancy_ms": 1}),
        json!({"declined_accounts": "WIFI-1"}),
        json!([1]),
        json!([]),
        json!(1),
    ] {
        let reply = api.behave(wrong.clone()).await;
        assert_eq!(
            (reply.status, reply.problem()),
            (400, "invalid-request"),
            "{wrong}"
        );
    }
    assert_eq!(api.get("/behaviour").await.body, before);
}

#[tokio::test]
async fn with_a_seed_the_same_bills_fare_the_same_under_other_keys() {
    let (_provider, api) = provider().await;
    let fates = async |seed: u64, run: &str| {
        let faults = json!({"server_error_share": 0.4, "decline_share": 0.2, "seed": seed});
        assert_eq!(api.behave(faults).await.status, 200);
        let mut fates = Vec::new();
        for nth in 0..30 {
            let mut bill = bill("1.00");
            bill["account_number"] = json!(format!("WIFI-{nth}"));
            // Until it is decided: a call that failed is followed by another throw.
            loop {
                let payment = api.payment(&format!("{run}-{nth}"), &bill);
                let reply = api.send(payment).await;
                fates.push(reply.status);
                if reply.status != 500 {
                    break;
                }
            }
        }
        fates
    };
    let first = fates(7, "a").await;
    assert_eq!(fates(7, "b").await, first);
    assert_ne!(fates(8, "c").await, first);
    for status in [201, 422, 500] {
        assert!(first.contains(&status), "{first:?}");
    }
}

#[tokio::test]
async fn settings_can_be_set_without_http() {
    let (provider, api) = provider().await;
    let declined = Behaviour {
        decline_share: 1.0,
        ..Behaviour::default()
    };
    provider.set_behaviour(declined).unwrap();
    assert_eq!(api.pay("key").await.status, 422);
    let wrong = Behaviour {
        decline_share: 2.0,
        ..Behaviour::default()
    };
    provider.set_behaviour(wrong).unwrap_err();
    assert_eq!(api.get("/behaviour").await.body["decline_share"], 1.0);
}

#[tokio::test]
async fn a_server_error_does_nothing_but_count() {
    let (_provider, api) = provider().await;
    api.behave(json!({"server_error_share": 1})).await;
    let reply = api.pay("key").await;
    assert_eq!((reply.status, reply.problem()), (500, "provider-failed"));
    assert_eq!(api.get("/payments/key").await.status, 404);
    assert_eq!(api.get("/payments").await.body["payments"], json!([]));
    assert_eq!(api.counts().await, (1, 0));
    api.behave(json!({})).await;
    assert_eq!(api.pay("key").await.status, 201);
    assert_eq!(api.get("/payments/key").await.body["calls"], 2);
}

#[tokio::test]
async fn a_late_answer_has_taken_the_money_and_holds_up_nobody() {
    let (_provider, api) = provider().await;
    api.behave(json!({"timeout_share": 1, "timeout_ms": 60_000}))
        .await;
    let keys: Vec<String> = (0..200).map(|number| format!("late-{number}")).collect();
    let late = keys.iter().map(|key| {
        let request = api.payment(key, &bill("1"));
        let request = request.timeout(Duration::from_secs(2));
        async { request.send().await.unwrap_err().is_timeout() }
    });
    let others = async {
        crate::setup::eventually("all late calls taken", async || {
            let counts = api.counts().await;
            let taken = counts == (200, 200);
            taken.then_some(()).ok_or_else(|| format!("{counts:?}"))
        })
        .await;
        api.behave(json!({})).await;
        let begun = Instant::now();
        assert_eq!(api.pay("prompt").await.status, 201);
        assert_eq!(api.pay(&keys[0]).await.status, 409);
        let begun_to_end = begun.elapsed();
        assert!(begun_to_end < Duration::from_secs(1), "{begun_to_end:?}");
    };
    let (timed_out, ()) = tokio::join!(join_all(late), others);
    assert!(timed_out.into_iter().all(|it| it));
}

#[tokio::test]
async fn latency_holds_back_each_payment_by_itself() {
    let (_provider, api) = provider().await;
    api.behave(json!({"latency_ms": 300})).await;
    let begun = Instant::now();
    let keys: Vec<String> = (0..50).map(|number| format!("key-{number}")).collect();
    let replies = join_all(keys.iter().map(|key| api.pay(key))).await;
    let elapsed = begun.elapsed();
    assert!(replies.iter().all(|reply| reply.status == 201));
    assert!(elapsed >= Duration::from_millis(300), "{elapsed:?}");
    assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");
    let begun = Instant::now();
    api.get("/payments").await;
    assert!(begun.elapsed() < Duration::from_millis(300));
}

#[tokio::test]
async fn shares_are_shares() {
    let (_provider, api) = provider().await;
    let shares = json!({"server_error_share": 0.25, "decline_share": 0.25});
    api.behave(shares).await;
    let keys: Vec<String> = (0..2_000).map(|number| format!("key-{number}")).collect();
    let mut statuses = std::collections::HashMap::<u16, u32>::new();
    for keys in keys.chunks(50) {
        for reply in join_all(keys.iter().map(|key| api.pay(key))).await {
            *statuses.entry(reply.status).or_default() += 1;
        }
    }
    // Seven standard deviations of 2,000 throws at a quarter: 136.
    for (status, expected) in [(500, 500), (422, 500), (201, 1_000)] {
        let found = statuses.get(&status).copied().unwrap_or(0);
        assert!(found.abs_diff(expected) < 160, "{statuses:?}");
    }
}
