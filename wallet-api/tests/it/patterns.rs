//! The patterns side by side, as processes that die: what is published, and what is lost.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::time::Duration;

use chassis::consumer::Record;
use diesel_async::SimpleAsyncConnection as _;
use serde_json::{Value, json};
use testkit::{
    Process, TestDatabase, TopicReader, eventually, free_address, kafka_brokers, unique_prefix,
};
use uuid::Uuid;
use wallet_api::config::PatternConfig;
use wallet_api::pattern::Pattern;

/// wallet-api and a relay, with a database and topics of their own.
struct System {
    wallet_api: Option<Process>,
    relay: Process,
    database: TestDatabase,
    prefix: String,
    address: String,
    admin_address: String,
    client: reqwest::Client,
}

const PATTERNS: [&str; 4] = [
    "outbox",
    "listen-to-yourself",
    "dual-write",
    "publish-first",
];

impl System {
    /// Without the topic of the events, which is the test's to create.
    async fn start(settings: &[(&str, &str)]) -> Self {
        let migrations = vec![
            outbox::MIGRATIONS,
            operations::MIGRATIONS,
            wallet_api::MIGRATIONS,
        ];
        let database = TestDatabase::create("wallet", migrations).await;
        let prefix = unique_prefix();
        let commands = format!("{prefix}{}", events::COMMAND_TOPIC);
        TopicReader::create(&commands, 4).await;
        let relay = Process::start(
            "relay",
            &[
                ("DATABASE_URL", database.url()),
                ("KAFKA_BROKERS", &kafka_brokers()),
                ("TOPIC_PREFIX", &prefix),
                ("ADMIN_LISTEN", &free_address()),
                ("LOG", "warn"),
            ],
        );
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(60))
            .build()
            .expect("a client is made");
        let mut system = Self {
            wallet_api: None,
            relay,
            database,
            prefix,
            address: free_address(),
            admin_address: free_address(),
            client,
        };
        system.start_wallet_api(settings).await;
        system
    }

    async fn start_wallet_api(&mut self, settings: &[(&str, &str)]) {
        let brokers = kafka_brokers();
        let mut environment = vec![
            ("DATABASE_URL", self.database.url()),
            ("KAFKA_BROKERS", &brokers),
            ("TOPIC_PREFIX", &self.prefix),
            ("LISTEN", &self.address),
            ("ADMIN_LISTEN", &self.admin_address),
            ("LOG", "warn"),
        ];
        environment.extend(settings);
        self.wallet_api = Some(Process::start("wallet-api", &environment));
        eventually("wallet-api is ready", async || {
            match self.get("/readyz").await {
                Ok(ready) if ready["status"] == "ready" => Ok(()),
                seen => Err(format!("{seen:?}")),
            }
        })
        .await;
    }

    async fn events(&self) -> TopicReader {
        TopicReader::create(&format!("{}{}", self.prefix, events::WALLET_TOPIC), 8).await
    }

    async fn get(&self, path: &str) -> reqwest::Result<Value> {
        let is_customers = path.starts_with("/wallets") || path.starts_with("/payments");
        let address = if is_customers {
            &self.address
        } else {
            &self.admin_address
        };
        let request = self.client.get(format!("http://{address}{path}"));
        request.send().await?.json().await
    }

    async fn metrics(&self) -> Result<String, String> {
        let url = format!("http://{}/metrics", self.admin_address);
        let request = self.client.get(url);
        let answer = request.send().await.map_err(|error| error.to_string())?;
        answer.text().await.map_err(|error| error.to_string())
    }

    /// Status, and body or what became of the connection.
    async fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> reqwest::Result<(u16, Value)> {
        let mut request = self.client.post(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.header("content-type", "application/json");
        let answer = request.body(body.to_string()).send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    }

    async fn wallet(&self) -> String {
        let body = json!({ "currency": "INR", "opening_balance": "10" });
        let (_, wallet) = self.post("/wallets", &[], &body).await.expect("an answer");
        wallet["id"].as_str().expect("an id").to_owned()
    }

    async fn pay(&self, wallet: &str, headers: &[(&str, &str)]) -> reqwest::Result<(u16, Value)> {
        let body = json!({ "amount": "1", "account_number": "WIFI-1" });
        let path = format!("/wallets/{wallet}/pay-bill");
        self.post(&path, headers, &body).await
    }

    /// Pays, and returns the payment's id.
    async fn accepted(&self, wallet: &str, headers: &[(&str, &str)]) -> String {
        let (status, payment) = self.pay(wallet, headers).await.expect("an answer");
        assert_eq!(status, 202, "{payment}");
        payment["id"].as_str().expect("an id").to_owned()
    }

    async fn balance_is(&self, wallet: &str, balance: &str) {
        eventually("the wallet is debited", async || {
            let shown = self.get(&format!("/wallets/{wallet}")).await;
            match shown {
                Ok(shown) if shown["balance"] == balance => Ok(()),
                seen => Err(format!("{seen:?}")),
            }
        })
        .await;
    }
}

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn payment_id(event: &Record) -> String {
    let payload: Value = serde_json::from_slice(event.payload.as_ref().unwrap()).unwrap();
    payload["payment_id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_the_same_whatever_the_pattern() {
    let system = System::start(&[("LAB", "true")]).await;
    let topic = system.events().await;
    let wallet = system.wallet().await;
    let mut partitions = Vec::new();
    for pattern in PATTERNS {
        let key = format!("key-{pattern}");
        let headers = [
            ("x-pay-pattern", pattern),
            ("idempotency-key", &key),
            ("traceparent", TRACEPARENT),
            ("tracestate", "congo=t61rcWkgMzE"),
        ];
        let payment = system.accepted(&wallet, &headers).await;
        let event = topic.next().await;
        let seen = message(&event)
            .replace(&key, "<key>")
            .replace(&wallet, "<wallet>")
            .replace(&payment, "<payment>");
        insta::allow_duplicates! {
            insta::assert_snapshot!(seen, @r#"
            key: <wallet>
            ce_id: <uuid>
            ce_type: BillPaymentRequested
            ce_source: wallet-api
            ce_specversion: 1.0
            content-type: application/json
            traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
            tracestate: congo=t61rcWkgMzE

            {"account_number":"WIFI-1","amount":"1.00","currency":"INR","idempotency_key":"<key>","payment_id":"<payment>","provider":"wifi","wallet_id":"<wallet>"}
            "#);
        }
        partitions.push(event.partition);
    }
    partitions.dedup();
    assert_eq!(partitions.len(), 1, "a wallet's events share a partition");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_tells_by_which_pattern_it_was_written_and_null_is_the_outbox() {
    let system = System::start(&[("LAB", "true")]).await;
    system.events().await;
    let wallet = system.wallet().await;
    for pattern in PATTERNS {
        let payment = system
            .accepted(&wallet, &[("x-pay-pattern", pattern)])
            .await;
        let written = format!(
            "select count(*) from payments where id = '{payment}' \
             and pattern is not distinct from nullif('{pattern}', 'outbox')"
        );
        eventually(&format!("{pattern} is noted"), async || {
            match system.database.count(&written).await {
                1 => Ok(()),
                other => Err(format!("{other} such rows")),
            }
        })
        .await;
    }
    // The wallet's no is noted, too.
    let body = json!({ "amount": "1000", "account_number": "WIFI-1" });
    let path = format!("/wallets/{wallet}/pay-bill");
    let headers = [("x-pay-pattern", "listen-to-yourself")];
    let answer = system.post(&path, &headers, &body).await;
    assert_eq!(answer.expect("an answer").0, 202);
    let declined = "select count(*) from payments where status = 'declined' and pattern = 'listen-to-yourself'";
    eventually("the payment is declined", async || {
        match system.database.count(declined).await {
            1 => Ok(()),
            other => Err(format!("{other} declined")),
        }
    })
    .await;
}

/// All that a consumer sees of a message, but for what differs from event to event, and the relay's own
/// headers. The payload in the order of its keys: only the outbox has the text of PostgreSQL's jsonb.
fn message(event: &Record) -> String {
    let key = String::from_utf8(event.key.clone().unwrap()).unwrap();
    let mut text = format!("key: {key}\n");
    for (name, value) in event.header_values() {
        let value = std::str::from_utf8(value).unwrap();
        let value = match name {
            "outbox_seq" | "outbox_epoch" => continue,
            "ce_id" => value.parse::<Uuid>().map(|_| "<uuid>").unwrap(),
            _ => value,
        };
        writeln!(text, "{name}: {value}").unwrap();
    }
    let payload: Value = serde_json::from_slice(event.payload.as_ref().unwrap()).unwrap();
    format!("{text}\n{payload}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_the_writes_loses_the_event_in_dual_write_and_in_no_other_pattern() {
    let system = System::start(&[("LAB", "true")]).await;
    let topic = system.events().await;
    let wallet = system.wallet().await;
    // dual-write first: the wallet's events come in order, so the events of the others would come after it.
    let patterns = ["dual-write", "listen-to-yourself", "outbox"];
    for pattern in patterns {
        let headers = [
            ("x-pay-pattern", pattern),
            ("x-lab-crash", "between"),
            ("idempotency-key", pattern),
        ];
        let crashed = system.pay(&wallet, &headers).await;
        let error = crashed.expect_err("nobody answers");
        assert!(error.is_request() && error.status().is_none(), "{error:?}");
    }
    system.balance_is(&wallet, "7.00").await;
    let mut published = HashSet::new();
    while published.len() < 2 {
        published.insert(payment_id(&topic.next().await));
    }
    // The clients ask again, as they should. All three have been debited, and none is debited again.
    for pattern in patterns {
        let headers = [("x-pay-pattern", pattern), ("idempotency-key", pattern)];
        let payment = system.accepted(&wallet, &headers).await;
        assert_eq!(published.contains(&payment), pattern != "dual-write");
    }
    // What dual-write publishes is there before its answer: what is not there before this one is lost.
    let headers = [("x-pay-pattern", "dual-write")];
    let last = system.accepted(&wallet, &headers).await;
    let mut next = String::new();
    while next != last {
        next = payment_id(&topic.next().await);
        assert!(next == last || published.contains(&next), "{next}");
    }
    system.balance_is(&wallet, "6.00").await;
    let payments = "select count(*) from payments where status = 'pending'";
    assert_eq!(system.database.count(payments).await, 4);
    drop(system.relay);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_the_writes_of_publish_first_publishes_an_event_and_charges_nobody() {
    let system = System::start(&[("LAB", "true")]).await;
    let topic = system.events().await;
    let wallet = system.wallet().await;
    let headers = [
        ("x-pay-pattern", "publish-first"),
        ("x-lab-crash", "between"),
        ("idempotency-key", "mine"),
    ];
    let crashed = system.pay(&wallet, &headers).await;
    let error = crashed.expect_err("nobody answers");
    assert!(error.is_request() && error.status().is_none(), "{error:?}");
    let published = payment_id(&topic.next().await);
    system.balance_is(&wallet, "10.00").await;
    let payments = "select count(*) from payments";
    assert_eq!(system.database.count(payments).await, 0);
    // The wallet does not know the key, so the client's retry publishes another payment, and charges this one only.
    let again = system.accepted(&wallet, &[headers[0], headers[2]]).await;
    assert_ne!(again, published);
    assert_eq!(payment_id(&topic.next().await), again);
    system.balance_is(&wallet, "9.00").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_the_lab_holds_waits_after_its_first_write_until_the_lab_lets_it_go() {
    let system = System::start(&[("LAB", "true")]).await;
    let topic = system.events().await;
    let mut lab = system.database.connect().await;
    let mut execute = async |statement: &str| {
        let executed = lab.batch_execute(statement).await;
        executed.expect("the lab's statement is executed");
    };
    for (nth, pattern) in PATTERNS.into_iter().enumerate() {
        let wallet = system.wallet().await;
        let number = nth.to_string();
        execute(&format!("select pg_advisory_lock({number})")).await;
        let headers = [("x-pay-pattern", pattern), ("x-lab-hold", number.as_str())];
        let has_published = pattern != "dual-write";
        let let_go = async {
            // The first write is there, and of two writes the second one is not.
            if has_published {
                topic.next().await;
            } else {
                system.balance_is(&wallet, "9.00").await;
            }
            if pattern == "publish-first" {
                system.balance_is(&wallet, "10.00").await;
            }
            execute(&format!("select pg_advisory_unlock({number})")).await;
        };
        let (answer, ()) = tokio::join!(system.accepted(&wallet, &headers), let_go);
        if !has_published {
            assert_eq!(payment_id(&topic.next().await), answer);
        }
        system.balance_is(&wallet, "9.00").await;
    }
}

/// The topic of the events is not there: the payment is debited, and its event can't be published.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_killed_between_debit_and_publish_publishes_and_debits_once() {
    let mut system = System::start(&[("PAY_PATTERN", "listen-to-yourself")]).await;
    let wallet = system.wallet().await;
    let payment = system.accepted(&wallet, &[]).await;
    system.balance_is(&wallet, "9.00").await;
    system.wallet_api.take().expect("it runs").kill_9();

    let topic = system.events().await;
    // The pattern is another one by then: what was accepted is carried out if the setting says so.
    let outbox = ("PAY_PATTERN", "outbox");
    system
        .start_wallet_api(&[outbox, ("DRAIN_COMMANDS", "true")])
        .await;
    let event = topic.next().await;
    assert_eq!(payment_id(&event), payment);
    let id = payment.parse::<Uuid>().unwrap();
    let event_id = Uuid::new_v5(&id, b"BillPaymentRequested").to_string();
    assert_eq!(event.header("ce_id"), Some(event_id.as_str()));
    system.balance_is(&wallet, "9.00").await;
    let debits = "select count(*) from transfers where kind = 'payment'";
    assert_eq!(system.database.count(debits).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_not_carried_out_where_nobody_publishes_commands() {
    let system = System::start(&[("PAY_PATTERN", "outbox")]).await;
    let wallet = system.wallet().await;
    let commands = format!("{}{}", system.prefix, events::COMMAND_TOPIC);
    testkit::produce(&commands, &wallet, &[], b"{").await;
    eventually("a gauge shows the command that waits", async || {
        let metrics = system.metrics().await?;
        let unsaid = testkit::metrics_without_help(&metrics);
        assert!(unsaid.is_empty(), "{unsaid:?}");
        let found = metrics.contains("payment_commands_waiting 1");
        if found { Ok(()) } else { Err(metrics) }
    })
    .await;
    let letters = system.get("/dead-letters").await.expect("an answer");
    assert_eq!(
        letters["items"],
        Value::Array(Vec::new()),
        "it was not read"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_command_is_put_aside_and_the_next_one_is_paid() {
    let system = System::start(&[("PAY_PATTERN", "listen-to-yourself")]).await;
    let topic = system.events().await;
    let wallet = system.wallet().await;
    let commands = format!("{}{}", system.prefix, events::COMMAND_TOPIC);
    let headers = [("ce_type", "PayBill"), ("ce_id", "1")];
    testkit::produce(&commands, &wallet, &headers, b"{").await;
    // A header's name that is not UTF-8, on each topic that the process reads.
    let results = format!("{}{}", system.prefix, events::BILL_TOPIC);
    TopicReader::create(&results, 1).await;
    let latin: [(&[u8], &[u8]); 1] = [(b"caf\xe9", b"v")];
    for partition in 0..4 {
        testkit::produce_bytes(&commands, partition, wallet.as_bytes(), b"{}", &latin).await;
    }
    testkit::produce_bytes(&results, 0, wallet.as_bytes(), b"{}", &latin).await;
    let payment = system.accepted(&wallet, &[]).await;
    assert_eq!(payment_id(&topic.next().await), payment);
    eventually("each of them is a dead letter", async || {
        let letters = system.get("/dead-letters").await;
        let letters = letters.map_err(|error| error.to_string())?["items"].clone();
        let of = |topic: &str| {
            let letters = letters.as_array().into_iter().flatten();
            letters.filter(|letter| letter["topic"] == topic).count()
        };
        if (of(&commands), of(&results)) == (5, 1) {
            Ok(())
        } else {
            Err(letters.to_string())
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_lab_a_pattern_that_loses_money_does_not_start() {
    for pattern in [Pattern::DualWrite, Pattern::PublishFirst] {
        does_not_start(pattern.name()).await;
        let config = PatternConfig {
            pay_pattern: pattern,
            publish_timeout_ms: 5_000,
            lab: false,
            drain_commands: false,
        };
        let refused = config.lab().expect_err("it is refused").to_string();
        assert!(refused.contains("LAB=true"), "{refused}");
        assert!(refused.contains(pattern.name()), "{refused}");
    }
}

async fn does_not_start(pattern: &str) {
    let migrations = vec![
        outbox::MIGRATIONS,
        operations::MIGRATIONS,
        wallet_api::MIGRATIONS,
    ];
    let database = TestDatabase::create("wallet", migrations).await;
    let brokers = kafka_brokers();
    let refused = Process::start(
        "wallet-api",
        &[
            ("DATABASE_URL", database.url()),
            ("KAFKA_BROKERS", &brokers),
            ("LISTEN", &free_address()),
            ("ADMIN_LISTEN", &free_address()),
            ("PAY_PATTERN", pattern),
            ("LOG", "off"),
        ],
    );
    let stat = format!("/proc/{}/stat", refused.id());
    eventually(
        "wallet-api has ended",
        async || match std::fs::read_to_string(&stat) {
            Ok(seen) if seen.contains(") Z ") => Ok(()),
            seen => Err(format!("{seen:?}")),
        },
    )
    .await;
    assert_eq!(refused.wait().code(), Some(1));
}
