//! The same events in every mode: topic, key, headers and bytes.

use outbox::NewEvent;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::debezium::Connected;
use crate::publishing::message;
use crate::test_outbox::{append_all, event};

#[tokio::test]
async fn every_mode_publishes_the_same_bytes() {
    let by_poller = published("poller", When::Before).await;
    insta::assert_snapshot!(by_poller[1], @r#"
    key: wallet-ß
    ce_id: 018f0000-0000-7000-8000-000000000002
    ce_type: BillPaymentRequested
    ce_source: wallet-api
    ce_specversion: 1.0
    content-type: application/json
    traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
    tracestate: congo=t61rcWkgMzE
    outbox_seq: 2
    outbox_epoch: (of the outbox)

    {"a": [1000.0, null, true], "b": "ß \"1\" \\ \n 😀", "amount": "100.00"}
    "#);
    for (mode, when) in [
        ("poller", When::After),
        ("cdc", When::Before),
        ("cdc", When::After),
        ("debezium", When::Before),
        ("debezium", When::After),
    ] {
        assert_eq!(published(mode, when).await, by_poller, "{mode}, {when:?}");
    }
}

/// Whether the events are there before the relay is, or come later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Before,
    After,
}

/// What `mode` makes of the same events.
async fn published(mode: &str, when: When) -> Vec<String> {
    let connected = Connected::new().await;
    let test = &connected.test;
    let mut conn = test.database.connect().await;
    if when == When::Before {
        append_all(&mut conn, events()).await;
    }
    let relay = test.relay(&[("RELAY_MODE", mode)]);
    if when == When::After {
        relay.is_ready().await;
        if mode != "poller" {
            crate::slot::streams(test).await;
        }
        append_all(&mut conn, events()).await;
    }
    let records = test.topic.take(events().len()).await;
    test.pending_is(&[]).await;
    let topic = format!("{}wallet.events", test.prefix);
    assert!(records.iter().all(|record| record.topic == topic));
    let epoch = test.epoch().await;
    let message = |record| message(record, &epoch);
    records.iter().map(message).collect()
}

/// Events of one key, so that their order is known.
fn events() -> Vec<NewEvent> {
    let payloads: [Value; 5] = [
        json!({}),
        serde_json::from_str(r#"{"b":"ß \"1\" \\ \n 😀","amount":"100.00","a":[1e3,null,true]}"#)
            .unwrap(),
        serde_json::from_str(r#"[12345678901234567, 1.10, -0.0, 1e-7]"#).unwrap(),
        json!("\u{1}\t'$1'; --"),
        // Too large, and too hard to compress, for the row itself: PostgreSQL stores it elsewhere.
        (0..1_000_u64)
            .map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .collect(),
    ];
    (1..)
        .zip(payloads)
        .map(|(number, payload)| NewEvent {
            id: Uuid::from_u128(0x018f_0000_0000_7000_8000_0000_0000_0000 + number),
            ..event("wallet-ß", payload)
        })
        .collect()
}
