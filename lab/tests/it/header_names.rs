//! A record whose header name is not UTF-8 does not end a program that only reads Kafka.

use serde_json::{Value, json};
use testkit::{eventually, produce_bytes};
use uuid::Uuid;

use crate::audit::{audit, finding, findings, lab};
use crate::running::Up;
use crate::system::System;

/// "café", in Latin-1.
const NAME: &[u8] = b"caf\xe9";

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_and_the_trace_read_past_a_header_name_that_is_not_utf8() {
    let mut system = System::start().await;
    let wallet = system.wallet("10").await;
    let payment = system.accepted(&wallet).await;
    system.ended(&payment).await;
    // This test is not about what the services do with such a record.
    for name in ["wallet-api", "bill-payer"] {
        system.kill_9(name);
    }
    for topic in ["wallet.commands", "wallet.events", "bill.events"] {
        let topic = format!("{}{topic}", system.prefix);
        produce_bytes(&topic, 0, b"\xff", b"\xff", &[(NAME, b"\xff")]).await;
    }
    assert_eq!(findings(&audit(&system, &[]).await), []);

    // The record's other headers count.
    let id = Uuid::now_v7().to_string();
    let headers: [(&[u8], &[u8]); 3] = [
        (b"ce_id", id.as_bytes()),
        (NAME, b"\xff"),
        (b"ce_type", b"BillPaymentRequested"),
    ];
    let body = json!({
        "payment_id": payment, "wallet_id": wallet, "amount": "1", "currency": "INR",
        "provider": "wifi", "account_number": "WIFI-OTHER",
    });
    let topic = format!("{}wallet.events", system.prefix);
    let body = body.to_string();
    produce_bytes(&topic, 0, wallet.as_bytes(), body.as_bytes(), &headers).await;
    let report = audit(&system, &[]).await;
    assert_eq!(
        findings(&report),
        [("differs".to_owned(), vec![payment.clone()])]
    );
    let differences = finding(&report, "differs")["differences"].to_string();
    assert!(differences.contains("WIFI-OTHER"), "{differences}");
    let traced = lab(&system, &["trace", &payment]).await;
    let said = String::from_utf8(traced.stdout).unwrap();
    assert!(said.contains(&id), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_a_record_whose_header_name_is_not_utf8() {
    let up = Up::on_given_servers().await;
    let mut environment = up.environment.iter();
    let prefix = environment.find(|(name, _)| *name == "TOPIC_PREFIX");
    // This test is not about what wallet-api does with it.
    let topic = format!("{}wallet.commands", prefix.unwrap().1);
    let headers: [(&[u8], &[u8]); 2] = [(NAME, b"\xff"), (b"ce_type", b"Strange")];
    produce_bytes(&topic, 0, b"key", b"\xff", &headers).await;
    eventually("the page shows it", async || {
        let url = format!("{}/api/tables/wallet-commands", up.lab);
        let rows = up.client.get(url).send().await;
        let rows: Value = rows
            .map_err(|error| error.to_string())?
            .json()
            .await
            .unwrap();
        if rows["rows"].to_string().contains("Strange") {
            Ok(())
        } else {
            Err(rows.to_string())
        }
    })
    .await;
}
