//! A message that no consumer understands does not block the messages after it.

use testkit::produce;

use crate::system::System;

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_message_is_dead_lettered_and_the_partition_goes_on() {
    let system = System::start().await;
    let wallet = system.wallet("10").await;
    let topic = format!("{}{}", system.prefix, events::WALLET_TOPIC);
    let id = uuid::Uuid::now_v7().to_string();
    let headers = [("ce_id", id.as_str()), ("ce_type", "BillPaymentRequested")];
    // The message has the wallet's key, so it is in the partition of the wallet's payments.
    produce(&topic, &wallet, &headers, b"{ not json").await;
    produce(&topic, &wallet, &[], b"").await;
    let payment = system.accepted(&wallet).await;
    assert_eq!(system.ended(&payment).await["status"], "paid");
    let letters = system.look(&system.bill_payer_api, "/dead-letters").await;
    let letters = letters["items"].as_array().unwrap();
    assert_eq!(letters.len(), 2, "{letters:?}");
    assert!(
        letters
            .iter()
            .all(|letter| letter["topic"] == topic.as_str()),
        "{letters:?}"
    );
    assert!(
        letters
            .iter()
            .any(|letter| letter["payload"] == "{ not json"),
        "{letters:?}"
    );
    system.assert_settled().await;
}
