//! When the tries are used up, the provider says what becomes of the money; nobody guesses.

use std::time::Duration;

use bill_payer::domain::{Call, Status};
use bill_payer::store;
use mock_provider::Behaviour;

use crate::support::{BillPayer, Running, client, quick, until_recorded};

#[tokio::test]
async fn a_bill_whose_tries_are_used_up_is_cancelled_and_has_failed() {
    let payer = BillPayer::start().await;
    payer.behave(Behaviour {
        server_error_share: 1.0,
        ..Behaviour::default()
    });
    let mut config = quick();
    config.pay_attempts_max = 3;
    let executor = Running::start(payer.executor(config));
    let payment = payer.take("WIFI-1").await;
    let bill = payer.becomes(payment, "failed").await;
    executor.stop().await;
    assert_eq!(
        bill["last_error"],
        "the provider did not answer in time, and the payment was cancelled"
    );
    let (status, _, calls) = payer.at_provider(payment).await.unwrap();
    assert_eq!((status.as_str(), calls), ("cancelled", 3));
    let events = payer.events().await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].event_type, "BillPaymentFailed");
    assert_eq!(events[0].payload["reason"], bill["last_error"]);
}

#[tokio::test]
async fn a_bill_that_was_paid_unheard_is_paid_when_it_is_cancelled() {
    let payer = BillPayer::start().await;
    payer.behave(Behaviour {
        timeout_share: 1.0,
        ..Behaviour::default()
    });
    let mut config = quick();
    config.pay_attempts_max = 2;
    let impatient = client(&payer.provider.url(), 200);
    let executor = Running::start(payer.executor_of(config, impatient));
    let payment = payer.take("WIFI-1").await;
    let bill = payer.becomes(payment, "paid").await;
    executor.stop().await;
    let (status, receipt, calls) = payer.at_provider(payment).await.unwrap();
    assert_eq!((status.as_str(), calls), ("accepted", 2));
    assert_eq!(bill["receipt"], receipt);
    let events = payer.events().await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].event_type, "BillPaid");
}

#[tokio::test]
async fn a_bill_is_parked_when_the_provider_cannot_be_asked() {
    let payer = BillPayer::start().await;
    let mut config = quick();
    config.pay_attempts_max = 2;
    config.cancel_attempts_max = 2;
    // Nobody listens on a port that was free a moment ago.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let executor = Running::start(payer.executor_of(config, client(&url, 200)));
    let payment = payer.take("WIFI-1").await;
    let bill = payer.becomes(payment, "parked").await;
    executor.stop().await;
    assert_eq!(bill["attempts"], 2);
    let cause = bill["last_error"].as_str().unwrap();
    assert!(
        cause.starts_with("the provider can't be reached"),
        "{cause}"
    );
    assert_eq!(payer.events().await.len(), 0);
    let parked = payer.get("/bills?status=parked").await.1;
    assert_eq!(parked["items"][0]["payment_id"], bill["payment_id"]);
}

#[tokio::test]
async fn tries_used_up_by_crashes_lead_to_the_cancellation_too() {
    let payer = BillPayer::start().await;
    let payment = payer.take("WIFI-1").await;
    let mut config = quick();
    config.pay_attempts_max = 2;
    // Two processes claim the bill and die.
    for _ in 0..2 {
        let mut conn = payer.pool.get().await.unwrap();
        let claimed = store::claim(&mut conn, None, 10, Duration::from_secs(60)).await;
        assert_eq!(claimed.unwrap().remove(0).call, Call::Pay);
        payer.let_time_pass().await;
    }
    let mut executor = payer.executor(config);
    executor.run_once().await.unwrap();
    let round = until_recorded(&mut executor).await;
    assert_eq!(round.recorded.moved, [(payment, Status::Cancelling)]);
    let round = until_recorded(&mut executor).await;
    assert_eq!(round.recorded.moved, [(payment, Status::Failed)]);
    let (status, _, calls) = payer.at_provider(payment).await.unwrap();
    assert_eq!((status.as_str(), calls), ("cancelled", 0));
}
