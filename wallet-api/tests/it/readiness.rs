//! `/readyz` knows the schema that the program needs.

use std::process::Command;
use std::time::Duration;

use diesel_async::SimpleAsyncConnection as _;
use serde_json::{Value, json};
use testkit::{Process, TestDatabase, eventually, free_address, kafka_brokers, unique_prefix};

struct Server {
    address: String,
    customers: String,
    client: reqwest::Client,
    process: Process,
}

impl Server {
    fn start(database: &TestDatabase) -> Self {
        Self::start_with(database, &[])
    }

    fn start_with(database: &TestDatabase, settings: &[(&str, &str)]) -> Self {
        let (address, customers) = (free_address(), free_address());
        let (brokers, prefix) = (kafka_brokers(), unique_prefix());
        let common = [
            ("DATABASE_URL", database.url()),
            ("KAFKA_BROKERS", &brokers),
            ("TOPIC_PREFIX", &prefix),
            ("LISTEN", &customers),
            ("ADMIN_LISTEN", &address),
            ("LOG", "off"),
        ];
        let process = Process::start("wallet-api", &[&common, settings].concat());
        let client = reqwest::Client::builder().timeout(Duration::from_secs(20));
        Self {
            address,
            customers,
            client: client.build().unwrap(),
            process,
        }
    }

    /// Waits until it is ready, or is not and says `text` about the database.
    async fn says(&self, status: u16, text: &str) -> String {
        let url = format!("http://{}/readyz", self.address);
        eventually(&format!("{status}: {text}"), async || {
            let answer = self.client.get(&url).send().await;
            let answer = answer.map_err(|error| error.to_string())?;
            let seen = answer.status().as_u16();
            let body: Value = answer.json().await.map_err(|error| error.to_string())?;
            let database = body["checks"]["database"].as_str().unwrap_or_default();
            if seen == status && database.starts_with(text) {
                Ok(database.to_owned())
            } else {
                Err(format!("{seen}: {body}"))
            }
        })
        .await
    }
}

const OLDER: &str = "the schema is older: run `wallet-api migrate` (missing: ";

#[tokio::test(flavor = "multi_thread")]
async fn a_program_is_ready_once_its_migrations_are_applied() {
    let database = TestDatabase::create("empty", Vec::new()).await;
    let server = Server::start(&database);
    let missing = server.says(503, OLDER).await;
    for name in ["_outbox,", "_wallet,", "_payments_by_time"] {
        assert!(missing.contains(name), "{missing}");
    }
    // The database is there, so no request is told that it is away.
    let request = server
        .client
        .post(format!("http://{}/wallets", server.customers));
    let request = request.header("content-type", "application/json");
    let answer = request
        .body(json!({ "currency": "INR" }).to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 503);
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(
        problem["detail"],
        "the database can't do this now; GET /readyz says more"
    );

    let migrated = Command::new(env!("CARGO_BIN_EXE_wallet-api"))
        .env_clear()
        .env("DATABASE_URL", database.url())
        .arg("migrate")
        .output()
        .unwrap();
    assert!(migrated.status.success(), "{migrated:?}");
    server.says(200, "ok").await;

    let mut conn = database.connect().await;
    // As a newer program does in a rolling upgrade: this one still serves.
    conn.batch_execute(
        "insert into __diesel_schema_migrations (version) values ('29991231000000')",
    )
    .await
    .unwrap();
    server.says(200, "ok").await;
    let last = "delete from __diesel_schema_migrations where version = '20261125000011'";
    conn.batch_execute(last).await.unwrap();
    let missing = server.says(503, OLDER).await;
    assert_eq!(
        missing,
        format!("{OLDER}2026-11-25-000011_payments_by_time)")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_told_to_stop_says_so_and_goes_on_until_its_clients_have_left() {
    let migrations = vec![
        outbox::MIGRATIONS,
        operations::MIGRATIONS,
        wallet_api::MIGRATIONS,
    ];
    let database = TestDatabase::create("wallet", migrations).await;
    let server = Server::start_with(&database, &[("HTTP_DRAIN_MS", "2000")]);
    server.says(200, "ok").await;
    server.process.terminate();
    // Each answer is one of a service that works.
    server.says(503, "ok").await;
    let wallets = server
        .client
        .get(format!("http://{}/wallets", server.customers));
    let answer = wallets.send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    assert!(server.process.wait().success());
}
