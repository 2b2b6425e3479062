//! The messages of a real payment are what `docs/asyncapi.yaml` says.

use serde_json::{Value, json};
use testkit::TopicReader;

use crate::system::{PARTITIONS, System};

#[tokio::test(flavor = "multi_thread")]
async fn the_messages_of_a_payment_are_valid_by_the_schemas_in_the_document() {
    let pattern = ("wallet-api", "PAY_PATTERN", "listen-to-yourself".to_owned());
    let system = System::start_with(vec![pattern]).await;
    let wallet = system.wallet("10").await;
    let payment = system.accepted(&wallet).await;
    assert_eq!(system.ended(&payment).await["status"], "paid");

    let document = include_str!("../../../docs/asyncapi.yaml");
    // The last part of the document is JSON.
    let (_, schemas) = document.split_once("\n  schemas: ").unwrap();
    let schemas: Value = serde_json::from_str(schemas).unwrap();
    for (topic, event_type) in [
        (events::COMMAND_TOPIC, "PayBill"),
        (events::WALLET_TOPIC, "BillPaymentRequested"),
        (events::BILL_TOPIC, "BillPaid"),
    ] {
        let topic = format!("{}{topic}", system.prefix);
        let record = TopicReader::create(&topic, PARTITIONS).await.next().await;
        let header = record.headers.iter().find(|(name, _)| name == "ce_type");
        assert_eq!(header.unwrap().1.as_deref(), Some(event_type.as_bytes()));
        let message: Value = serde_json::from_slice(&record.payload.unwrap()).unwrap();
        let schema = json!({
            "$ref": format!("#/components/schemas/{event_type}"),
            "components": { "schemas": schemas },
        });
        let schema = jsonschema::validator_for(&schema).unwrap();
        let errors = schema.iter_errors(&message).map(|it| it.to_string());
        assert_eq!(errors.collect::<Vec<_>>(), [""; 0], "{message}");
    }
}
