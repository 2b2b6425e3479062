//! A bill is paid once, whatever the provider does in between.

use mock_provider::Behaviour;
use serde_json::{Value, json};
use testkit::eventually;
use uuid::Uuid;

use crate::support::{BillPayer, Running, TRACE, TRACESTATE, blank, client, quick, request};

const TIMEOUT_MS: u64 = 200;

#[tokio::test]
async fn an_accepted_bill_is_paid_and_says_so_in_one_event() {
    let payer = BillPayer::start().await;
    let executor = Running::start(payer.executor(quick()));
    let mut request = request("WIFI-1");
    request.payment_id = Uuid::from_u128(0x0198_c5f0_7b1c_7d52_9c7e_1f3f_5a2b_8c4d);
    request.wallet_id = Uuid::from_u128(0x0198_c5f0_7b1c_7d52_9c7e_0000_0000_0001);
    payer.take_all(std::slice::from_ref(&request)).await;
    let bill = payer.becomes(request.payment_id, "paid").await;
    executor.stop().await;
    let (status, receipt, calls) = payer.at_provider(request.payment_id).await.unwrap();
    assert_eq!((status.as_str(), calls), ("accepted", 1));
    assert_eq!(bill["receipt"], receipt);
    insta::assert_json_snapshot!(
        "paid_bill",
        blank(bill, &["calls", "receipt", "created_at", "updated_at"])
    );
    let events = payer.events().await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].payload["receipt"], receipt);
    assert_eq!(events[0].aggregateid, request.wallet_id.to_string());
    assert_eq!(events[0].source, "bill-payer");
    insta::assert_json_snapshot!("paid_event", event_json(&payer, &["receipt"]).await);
}

#[tokio::test]
async fn a_declined_bill_has_failed_and_says_why_in_one_event() {
    let payer = BillPayer::start().await;
    payer.behave(Behaviour {
        declined_accounts: vec!["WIFI-GONE".to_owned()],
        ..Behaviour::default()
    });
    let executor = Running::start(payer.executor(quick()));
    let mut request = request("WIFI-GONE");
    request.payment_id = Uuid::from_u128(0x0198_c5f0_7b1c_7d52_9c7e_1f3f_5a2b_8c4d);
    request.wallet_id = Uuid::from_u128(0x0198_c5f0_7b1c_7d52_9c7e_0000_0000_0001);
    payer.take_all(std::slice::from_ref(&request)).await;
    let bill = payer.becomes(request.payment_id, "failed").await;
    executor.stop().await;
    let (status, _, calls) = payer.at_provider(request.payment_id).await.unwrap();
    assert_eq!((status.as_str(), calls), ("declined", 1));
    insta::assert_json_snapshot!(
        "failed_bill",
        blank(bill, &["calls", "created_at", "updated_at"])
    );
    insta::assert_json_snapshot!("failed_event", event_json(&payer, &[]).await);
}

#[tokio::test]
async fn the_trace_follows_the_payment_to_the_provider_and_to_the_event() {
    let payer = BillPayer::start().await;
    let executor = Running::start(payer.executor(quick()));
    let payment = payer.take("WIFI-1").await;
    payer.becomes(payment, "paid").await;
    executor.stop().await;
    let url = format!("/payments/{payment}");
    let at_provider = crate::support::provider_get(&payer.provider.url(), &url).await;
    let called = at_provider.unwrap()["traceparent"]
        .as_str()
        .unwrap()
        .to_owned();
    let event = payer.events().await.remove(0);
    let taken = payer.bill(payment).await["traceparent"]
        .as_str()
        .unwrap()
        .to_owned();
    // Nothing is exported here: no span comes between.
    let sent = format!("00-{TRACE}-b7ad6b7169203331-01");
    assert_eq!([&called, &event.traceparent, &taken], [&sent; 3]);
    assert_eq!(event.tracestate, TRACESTATE);
}

#[tokio::test]
async fn a_bill_is_tried_again_after_500s_and_paid_once() {
    let payer = BillPayer::start().await;
    payer.behave(Behaviour {
        server_error_share: 1.0,
        ..Behaviour::default()
    });
    let executor = Running::start(payer.executor(quick()));
    let payment = payer.take("WIFI-1").await;
    let bill = eventually("two calls have failed", async || {
        let bill = payer.bill(payment).await;
        match bill["attempts"].as_i64() {
            Some(attempts) if attempts >= 3 => Ok(bill),
            _ => Err(bill.to_string()),
        }
    })
    .await;
    assert_eq!(bill["status"], "paying");
    assert_eq!(bill["last_error"], "the provider answered 500");
    payer.behave(Behaviour::default());
    payer.becomes(payment, "paid").await;
    executor.stop().await;
    assert_eq!(payer.at_provider(payment).await.unwrap().0, "accepted");
    assert_eq!(payer.events().await.len(), 1);
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_under_the_same_key_and_paid_once() {
    let payer = BillPayer::start().await;
    payer.behave(Behaviour {
        timeout_share: 1.0,
        ..Behaviour::default()
    });
    let impatient = client(&payer.provider.url(), TIMEOUT_MS);
    let executor = Running::start(payer.executor_of(quick(), impatient));
    let payment = payer.take("WIFI-1").await;
    // The money is taken with the first call; nobody hears of it.
    payer.called(payment, 2).await;
    assert_eq!(payer.events().await.len(), 0);
    payer.behave(Behaviour::default());
    let bill = payer.becomes(payment, "paid").await;
    executor.stop().await;
    let (status, receipt, calls) = payer.at_provider(payment).await.unwrap();
    assert_eq!(status, "accepted");
    assert!(calls >= 3);
    assert_eq!(bill["receipt"], receipt);
    assert_eq!(payer.events().await.len(), 1);
}

#[tokio::test]
async fn a_slow_call_holds_up_nobody_but_itself() {
    let payer = BillPayer::start().await;
    payer.behave(Behaviour {
        timeout_share: 1.0,
        ..Behaviour::default()
    });
    let mut config = quick();
    config.calls_in_flight_max = 2;
    let executor = Running::start(payer.executor(config));
    let slow = payer.take("WIFI-SLOW").await;
    payer.called(slow, 1).await;
    payer.behave(Behaviour::default());
    let others: Vec<_> = (0..100).map(|_| request("WIFI-1")).collect();
    payer.take_all(&others).await;
    crate::support::counts(&payer.database, "paid", 100).await;
    let bill = payer.bill(slow).await;
    assert_eq!(
        (&bill["status"], &bill["attempts"]),
        (&json!("paying"), &json!(1))
    );
    drop(executor);
}

#[tokio::test]
async fn calls_that_hang_leave_their_slots_to_others_up_to_a_limit() {
    let payer = BillPayer::start().await;
    payer.behave(Behaviour {
        timeout_share: 1.0,
        ..Behaviour::default()
    });
    let mut config = quick();
    (config.calls_in_flight_max, config.slow_calls_max) = (2, 3);
    config.slow_call_ms = 20;
    let mut executor = payer.executor(config);
    let slow: Vec<_> = (0..8).map(|_| request("WIFI-SLOW")).collect();
    payer.take_all(&slow).await;
    // Two calls begin. When three have become slow, two others hold the slots of quick calls.
    let mut claimed = 0;
    eventually("five calls", async || {
        claimed += executor.run_once().await.unwrap().claimed;
        executor.wait().await;
        (claimed == 5)
            .then_some(())
            .ok_or(format!("{claimed} calls"))
    })
    .await;
    for _ in 0..3 {
        assert_eq!(executor.run_once().await.unwrap().claimed, 0);
        executor.wait().await;
    }
}

#[tokio::test]
async fn several_executors_share_the_work_and_call_once_for_each_bill() {
    let payer = BillPayer::start().await;
    let requests: Vec<_> = (0..300).map(|_| request("WIFI-1")).collect();
    payer.take_all(&requests).await;
    let executors = [(); 3].map(|()| Running::start(payer.executor(quick())));
    crate::support::counts(&payer.database, "paid", 300).await;
    for executor in executors {
        executor.stop().await;
    }
    let seen = crate::support::provider_get(&payer.provider.url(), "/payments?limit=1").await;
    let seen = seen.unwrap();
    assert_eq!(
        (&seen["calls"], &seen["accepted"]),
        (&json!(300), &json!(300))
    );
    let mut paid: Vec<Value> = payer
        .events()
        .await
        .into_iter()
        .map(|it| it.payload["payment_id"].clone())
        .collect();
    assert_eq!(paid.len(), 300);
    paid.sort_by_key(ToString::to_string);
    paid.dedup();
    assert_eq!(paid.len(), 300);
}

/// The one event of the outbox, as a consumer will see it.
async fn event_json(payer: &BillPayer, blanked: &[&str]) -> Value {
    let event = payer.events().await.remove(0);
    json!({
        "topic": format!("{}.events", event.aggregatetype),
        "key": event.aggregateid,
        "ce_type": event.event_type,
        "ce_source": event.source,
        "payload": blank(event.payload, blanked),
    })
}
