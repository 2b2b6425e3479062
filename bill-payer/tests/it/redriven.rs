//! An event that an operator had published again.

use events::BillPaymentRequested;
use mock_provider::Behaviour;

use crate::support::{BillPayer, Running, counts, quick, request};

fn redriven(request: &BillPaymentRequested) -> BillPaymentRequested {
    BillPaymentRequested {
        redriven: true,
        ..request.clone()
    }
}

/// One bill that is paid, one that has failed, and one that nobody asks the provider about.
async fn bills(payer: &BillPayer) -> [BillPaymentRequested; 3] {
    payer.behave(Behaviour {
        declined_accounts: vec!["WIFI-GONE".to_owned()],
        ..Behaviour::default()
    });
    let [paid, failed, open] = ["WIFI-1", "WIFI-GONE", "WIFI-2"].map(request);
    payer.take_all(&[paid.clone(), failed.clone()]).await;
    let executor = Running::start(payer.executor(quick()));
    counts(&payer.database, "paid", 1).await;
    counts(&payer.database, "failed", 1).await;
    executor.stop().await;
    payer.take_all(std::slice::from_ref(&open)).await;
    [paid, failed, open]
}

#[tokio::test]
async fn a_bill_that_has_ended_says_its_result_again_and_is_not_paid_again() {
    let payer = BillPayer::start().await;
    let [paid, failed, open] = bills(&payer).await;
    // Twice in one batch is once.
    let again = [&paid, &failed, &open, &paid].map(redriven);
    payer.take_all(&again).await;
    let events = payer.events().await;
    for request in [&paid, &failed] {
        let of_it = events
            .iter()
            .filter(|event| event.payload["payment_id"] == request.payment_id.to_string());
        let of_it: Vec<_> = of_it.collect();
        assert_eq!(of_it.len(), 2, "{events:?}");
        assert_eq!(of_it[0].payload, of_it[1].payload);
        assert_eq!(of_it[0].event_type, of_it[1].event_type);
        assert_eq!(of_it[1].aggregateid, request.wallet_id.to_string());
    }
    assert_eq!(events.len(), 4);
    // Ids of their own: the payments' inbox may know those of before.
    let ids = "select count(distinct id) from outbox";
    assert_eq!(payer.database.count(ids).await, 4);
    counts(&payer.database, "paying", 1).await;
    let (status, _, calls) = payer.at_provider(paid.payment_id).await.unwrap();
    assert_eq!((status.as_str(), calls), ("accepted", 1));
}

#[tokio::test]
async fn a_redelivery_and_an_event_of_another_bill_have_nothing_said_again() {
    let payer = BillPayer::start().await;
    let [paid, ..] = bills(&payer).await;
    payer.take_all(std::slice::from_ref(&paid)).await;
    let mut other = redriven(&paid);
    other.money = serde_json::from_str(r#"{ "amount": "1.00", "currency": "INR" }"#).unwrap();
    payer.take_all(&[other]).await;
    assert_eq!(payer.events().await.len(), 2);
}
