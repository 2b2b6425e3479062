//! Two parts disagree about a payment; `lab audit` finds it and names the field, the values and the places.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::Uri;
use axum::{Json, Router};
use serde_json::{Value, json};
use testkit::{eventually, produce};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::audit::{audit, audit_with, finding, findings, time_of};
use crate::damage::execute;
use crate::system::System;

/// Each part that knows payments, and the fields that the part has.
const PARTS: [(&str, &[&str]); 8] = [
    (
        "wallet database",
        &[
            "wallet_id",
            "amount",
            "currency",
            "provider",
            "account_number",
            "status",
            "receipt",
            "reason",
            "idempotency_key",
        ],
    ),
    (
        "wallet.commands",
        &[
            "wallet_id",
            "amount",
            "currency",
            "provider",
            "account_number",
            "idempotency_key",
        ],
    ),
    (
        "wallet outbox",
        &[
            "wallet_id",
            "amount",
            "currency",
            "provider",
            "account_number",
        ],
    ),
    (
        "wallet.events",
        &[
            "wallet_id",
            "amount",
            "currency",
            "provider",
            "account_number",
        ],
    ),
    (
        "bill-payer database",
        &[
            "wallet_id",
            "amount",
            "currency",
            "provider",
            "account_number",
            "status",
            "receipt",
            "reason",
        ],
    ),
    (
        "bill-payer outbox",
        &[
            "wallet_id",
            "amount",
            "currency",
            "status",
            "receipt",
            "reason",
        ],
    ),
    (
        "bill.events",
        &[
            "wallet_id",
            "amount",
            "currency",
            "status",
            "receipt",
            "reason",
        ],
    ),
    (
        "provider",
        &[
            "amount",
            "currency",
            "provider",
            "account_number",
            "status",
            "receipt",
        ],
    ),
];

/// The parts that also have a key, which is the wallet's id.
const KEYED: [&str; 5] = [
    "wallet.commands",
    "wallet outbox",
    "wallet.events",
    "bill-payer outbox",
    "bill.events",
];

/// A difference, and the payment in which it is planted.
#[derive(Debug)]
struct Case {
    part: &'static str,
    /// `key` stands for the key of a message.
    field: &'static str,
    /// The payment as wallet-api shows it after its end.
    payment: Value,
}

impl Case {
    fn id(&self) -> &str {
        self.payment["id"].as_str().unwrap()
    }

    /// The body of the command, of the request or of the result.
    fn body(&self, message: &str) -> Value {
        let names: &[&str] = match message {
            "PayBill" | "BillPaymentRequested" => {
                &["amount", "currency", "provider", "account_number"]
            }
            "BillPaid" => &["amount", "currency", "receipt"],
            _ => &["amount", "currency", "reason"],
        };
        let mut body = json!({ "payment_id": self.id(), "wallet_id": self.payment["wallet_id"] });
        for name in names {
            body[name] = self.payment[name].clone();
        }
        if message == "PayBill" {
            body["idempotency_key"] = json!(key_of(&self.payment["account_number"]));
        }
        body
    }

    fn result(&self) -> &'static str {
        if self.payment["status"] == "paid" {
            "BillPaid"
        } else {
            "BillPaymentFailed"
        }
    }
}

/// The key under which a bill is paid.
fn key_of(account: &Value) -> String {
    format!("key-of-{}", account.as_str().unwrap())
}

/// The planted value.
fn planted(field: &str, other_wallet: &str) -> String {
    match field {
        "wallet_id" | "key" => other_wallet,
        "amount" => "2",
        "currency" => "USD",
        "status" => "not paid",
        field => return format!("another {field}"),
    }
    .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_difference_of_every_field_in_every_part_is_found() {
    let mut system = System::start().await;
    let wallets = [system.wallet("1000").await, system.wallet("1000").await];
    let cases = cases(&system, &wallets[0]).await;
    system.assert_settled().await;
    // After this, no service takes what is planted.
    for name in [
        "wallet-api",
        "bill-payer",
        "relay-wallet-1",
        "relay-wallet-2",
        "relay-bill",
    ] {
        system.kill_9(name);
    }
    for case in &cases {
        put_into_outboxes(&system, case).await;
        publish(
            &system,
            "wallet.commands",
            &wallets[0],
            "PayBill",
            &case.body("PayBill"),
        )
        .await;
    }
    assert_eq!(findings(&audit(&system, &[]).await), [], "undamaged");

    let provider = ForgingProvider::start(&system).await;
    for (part, _) in PARTS {
        let cases: Vec<&Case> = cases.iter().filter(|case| case.part == part).collect();
        for case in &cases {
            let value = planted(case.field, &wallets[1]);
            plant(&system, case, &value, &provider).await;
        }
        // Only these payments: in the later ones nothing is planted yet.
        let since = time_of(cases[0].id());
        let url = [("PROVIDER_URL", provider.url.as_str())];
        let report = audit_with(&system, &["--since", &since], &url).await;
        for case in cases {
            assert_found(&report, case, &planted(case.field, &wallets[1]));
        }
    }
}

/// A payment for each field of each part, and for each key; in the order of the parts.
async fn cases(system: &System, wallet: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    for (part, fields) in PARTS {
        let key = KEYED.contains(&part).then_some("key");
        for field in fields.iter().copied().chain(key) {
            let account = format!("WIFI-{}", cases.len());
            if field == "reason" {
                let declined = json!({ "declined_accounts": [account] });
                system.behave(&declined).await;
            }
            let key = key_of(&json!(account));
            let (status, payment) = system.pay(wallet, Some(&key), &account).await;
            assert_eq!(status, 202, "{payment}");
            let payment = system.ended(payment["id"].as_str().unwrap()).await;
            cases.push(Case {
                part,
                field,
                payment,
            });
        }
    }
    cases
}

/// Makes the payment's events wait, as if they had not been published yet.
async fn put_into_outboxes(system: &System, case: &Case) {
    let wallet = &case.payment["wallet_id"].as_str().unwrap();
    for (database, aggregate, event) in [
        (&system.wallet_database, "wallet", "BillPaymentRequested"),
        (&system.bill_payer_database, "bill", case.result()),
    ] {
        let row = format!(
            "insert into outbox (id, aggregatetype, aggregateid, type, source, traceparent, payload) \
             values (gen_random_uuid(), '{aggregate}', '{wallet}', '{event}', 'test', '-', '{}')",
            case.body(event)
        );
        execute(database, &row).await;
    }
}

async fn publish(system: &System, topic: &str, key: &str, event: &str, body: &Value) {
    let id = Uuid::now_v7().to_string();
    // With the source of the right service: a message of another one has no effect.
    let source = match topic {
        "bill.events" => "bill-payer",
        _ => "wallet-api",
    };
    let topic = format!("{}{topic}", system.prefix);
    let headers = [
        ("ce_id", id.as_str()),
        ("ce_type", event),
        ("ce_source", source),
    ];
    produce(&topic, key, &headers, body.to_string().as_bytes()).await;
}

async fn plant(system: &System, case: &Case, value: &str, provider: &ForgingProvider) {
    let (id, field) = (case.id(), case.field);
    let change = |table: &str, set: &str, of: &str| {
        format!(
            "alter table {table} disable trigger user; update {table} set {set} where {of} = '{id}'; \
             alter table {table} enable trigger user"
        )
    };
    let is_equal = format!("{field} = '{value}'");
    let in_outbox = match field {
        "key" => format!("aggregateid = '{value}'"),
        "status" => "type = 'BillPaymentFailed'".to_owned(),
        _ => format!("payload = jsonb_set(payload, '{{{field}}}', '\"{value}\"')"),
    };
    match case.part {
        "wallet database" => {
            let set = match field {
                "status" => "status = 'refunded', receipt = null, reason = 'planted'",
                _ => &is_equal,
            };
            execute(&system.wallet_database, &change("payments", set, "id")).await;
        }
        "bill-payer database" => {
            let set = match field {
                "status" => "status = 'failed', receipt = null, last_error = 'planted'",
                "reason" => &format!("last_error = '{value}'"),
                _ => &is_equal,
            };
            let change = change("bills", set, "payment_id");
            execute(&system.bill_payer_database, &change).await;
        }
        "wallet outbox" => {
            let change = change("outbox", &in_outbox, "payload->>'payment_id'");
            execute(&system.wallet_database, &change).await;
        }
        "bill-payer outbox" => {
            let change = change("outbox", &in_outbox, "payload->>'payment_id'");
            execute(&system.bill_payer_database, &change).await;
        }
        "provider" => {
            // The provider's own word for a payment that is not paid.
            let value = if field == "status" { "declined" } else { value };
            let planted = (field.to_owned(), value.to_owned());
            provider
                .forged
                .lock()
                .unwrap()
                .insert(id.to_owned(), planted);
        }
        topic => {
            // A second message, after the true one.
            let event = match topic {
                "wallet.commands" => "PayBill",
                "wallet.events" => "BillPaymentRequested",
                _ if field == "status" => "BillPaymentFailed",
                _ => case.result(),
            };
            let mut body = case.body(event);
            if !matches!(field, "key" | "status") {
                body[field] = json!(value);
            }
            let wallet = case.payment["wallet_id"].as_str().unwrap();
            let key = if field == "key" { value } else { wallet };
            publish(system, topic, key, event, &body).await;
        }
    }
}

/// Asserts that only the part in question has the planted value, and every other part with the field the true one.
fn assert_found(report: &Value, case: &Case, planted: &str) {
    let (is_key, is_message) = (case.field == "key", case.part.contains('.'));
    let field = if is_key { "wallet_id" } else { case.field };
    let differences = finding(report, "differs")["differences"]
        .as_array()
        .unwrap();
    let found = differences
        .iter()
        .find(|it| it["id"] == case.id() && it["field"] == field);
    assert!(found.is_some(), "{case:?} is not found: {report:#}");
    let places = |value: &str| {
        let values = found.unwrap()["values"].as_array().unwrap();
        assert_eq!(values.len(), 2, "{case:?}: {found:?}");
        let value = values.iter().find(|it| it["value"] == value);
        assert!(value.is_some(), "{case:?}: {found:?}");
        let places = value.unwrap()["where"].as_array().unwrap();
        // Ignores the place in the topic and the provider's reference.
        let mut places: Vec<&str> = places
            .iter()
            .map(|place| {
                let place = place.as_str().unwrap();
                let (name, detail) = place.rsplit_once(' ').unwrap_or((place, ""));
                if detail.contains([':', '-']) {
                    name
                } else {
                    place
                }
            })
            .collect();
        places.sort_unstable();
        places.join(", ")
    };
    let odd = if is_key {
        format!("key of {}", case.part)
    } else {
        case.part.to_owned()
    };
    assert_eq!(places(planted), odd, "{case:?}");
    let value = case.payment[field].as_str().unwrap_or_default();
    let value = match field {
        "amount" => "1".to_owned(),
        "idempotency_key" => key_of(&case.payment["account_number"]),
        _ => value.to_owned(),
    };
    let has_field = |part: &(&str, &[&str])| part.1.contains(&field);
    let mut others: Vec<&str> = PARTS
        .iter()
        .filter(|part| has_field(part) && (is_key || is_message || part.0 != case.part))
        .map(|part| part.0)
        .collect();
    // A message with a planted wallet has the true key.
    let key = format!("key of {}", case.part);
    if case.field == "wallet_id" && KEYED.contains(&case.part) {
        others.push(&key);
    }
    others.sort_unstable();
    assert_eq!(places(&value), others.join(", "), "{case:?}");
}

/// Field and value, by payment.
type Forged = Arc<Mutex<HashMap<String, (String, String)>>>;

/// The provider, with a field of some payments changed in its list.
struct ForgingProvider {
    url: String,
    forged: Forged,
    _tasks: JoinSet<()>,
}

impl ForgingProvider {
    async fn start(system: &System) -> Self {
        let forged = Forged::default();
        let state = (
            system.client.clone(),
            format!("http://{}", system.provider),
            Arc::clone(&forged),
        );
        let list =
            async |State((client, provider, forged)): State<(reqwest::Client, String, Forged)>,
                   uri: Uri| {
                let list = client.get(format!("{provider}{uri}")).send().await.unwrap();
                let mut list: Value = list.json().await.unwrap();
                for payment in list["payments"].as_array_mut().unwrap() {
                    let reference = payment["reference"].as_str().unwrap();
                    let planted = forged.lock().unwrap().get(reference).cloned();
                    if let Some((field, value)) = planted {
                        payment[field] = json!(value);
                    }
                }
                Json(list)
            };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(list).with_state(state);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            url,
            forged,
            _tasks: tasks,
        }
    }
}

/// An attacker sends a payment's request first, with the attacker's account.
#[tokio::test(flavor = "multi_thread")]
async fn a_bill_that_was_paid_to_another_account_is_found() {
    let mut system = System::start().await;
    let wallet = system.wallet("100").await;
    for relay in ["relay-wallet-1", "relay-wallet-2"] {
        system.kill_9(relay);
    }
    let (status, payment) = system.pay(&wallet, None, "WIFI-VICTIM").await;
    assert_eq!(status, 202, "{payment}");
    let id = payment["id"].as_str().unwrap();
    let forged = json!({
        "payment_id": id, "wallet_id": wallet, "amount": "1.00", "currency": "INR",
        "provider": payment["provider"], "account_number": "WIFI-ATTACKER",
    });
    publish(
        &system,
        "wallet.events",
        &wallet,
        "BillPaymentRequested",
        &forged,
    )
    .await;
    eventually("the provider is paid", async || {
        let report = audit(&system, &[]).await;
        let differences = &finding(&report, "differs")["differences"][0];
        let values = json!([
            { "value": "WIFI-ATTACKER", "where": [
                "bill-payer database", format!("provider {id}"), "wallet.events 0:0"] },
            { "value": "WIFI-VICTIM", "where": ["wallet database", "wallet outbox"] },
        ]);
        let seen = differences.to_string();
        let mut differences = differences.clone();
        // Any partition.
        if let Some(place) = differences["values"][0]["where"].get_mut(2) {
            *place = json!("wallet.events 0:0");
        }
        if differences == json!({ "id": id, "field": "account_number", "values": values }) {
            Ok(())
        } else {
            Err(seen)
        }
    })
    .await;
    // The true message comes second; the difference stays, whatever happens to that message.
    system.start_process("relay-wallet-1");
    eventually("the true event is published", async || {
        let report = audit(&system, &[]).await;
        let seen = finding(&report, "differs").to_string();
        if seen.contains("\"wallet database\",\"wallet.events ") && seen.contains("WIFI-ATTACKER") {
            Ok(())
        } else {
            Err(seen)
        }
    })
    .await;
}

/// A message as it is after a restore of the wallet database, or one that an attacker sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_only_a_message_knows_is_found() {
    let mut system = System::start().await;
    let wallet = system.wallet("100").await;
    system.kill_9("bill-payer");
    let id = Uuid::now_v7().to_string();
    let event = json!({ "payment_id": id, "wallet_id": wallet });
    publish(
        &system,
        "wallet.events",
        &wallet,
        "BillPaymentRequested",
        &event,
    )
    .await;
    let report = audit(&system, &[]).await;
    assert_eq!(
        findings(&report),
        [("not_in_wallet".to_owned(), vec![id.clone()])]
    );
    assert_eq!(
        finding(&report, "not_in_wallet")["repair"],
        "docs/recovery.md"
    );

    // A dead letter stays in the audit until an operator has dealt with it.
    system.start_process("bill-payer");
    let letter = eventually("it is put aside", async || {
        let letters = system
            .client
            .get(format!("http://{}/dead-letters", system.bill_payer_api));
        let letters = letters.send().await.map_err(|error| error.to_string())?;
        let letters: Value = letters.json().await.unwrap();
        letters["items"][0]["id"]
            .as_i64()
            .ok_or(letters.to_string())
    })
    .await;
    let report = audit(&system, &[]).await;
    assert_eq!(findings(&report), [("not_in_wallet".to_owned(), vec![id])]);
    let url = format!(
        "http://{}/dead-letters/{letter}/discard",
        system.bill_payer_api
    );
    let discard = system.client.post(url).header("x-operator", "asha");
    let discarded = discard.json(&json!({ "note": "not ours" })).send().await;
    assert_eq!(discarded.unwrap().status(), 204);
    assert_eq!(findings(&audit(&system, &[]).await), []);
}
