//! The process: it stops in order, and does not wait for clients that stall.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{Process, TestDatabase, eventually, free_address, kafka_brokers, unique_prefix};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

struct Server {
    database: TestDatabase,
    process: Process,
    address: String,
    admin_address: String,
    client: reqwest::Client,
}

async fn start() -> Server {
    let migrations = vec![
        outbox::MIGRATIONS,
        operations::MIGRATIONS,
        wallet_api::MIGRATIONS,
    ];
    let database = TestDatabase::create("wallet", migrations).await;
    let (address, admin_address) = (free_address(), free_address());
    let process = Process::start(
        "wallet-api",
        &[
            ("DATABASE_URL", database.url()),
            ("KAFKA_BROKERS", &kafka_brokers()),
            ("TOPIC_PREFIX", &unique_prefix()),
            ("LISTEN", &address),
            ("ADMIN_LISTEN", &admin_address),
            ("HTTP_HEADER_TIMEOUT_MS", "300"),
            ("HTTP_BODY_TIMEOUT_MS", "300"),
            ("LOG", "warn"),
        ],
    );
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(20))
        .build()
        .expect("a client is made");
    let ready = format!("http://{admin_address}/readyz");
    eventually("wallet-api is ready", async || {
        let answer = client
            .get(&ready)
            .send()
            .await
            .map_err(|error| error.to_string())?;
        if answer.status().is_success() {
            Ok(())
        } else {
            Err(answer.status().to_string())
        }
    })
    .await;
    Server {
        database,
        process,
        address,
        admin_address,
        client,
    }
}

impl Server {
    async fn post(&self, path: &str, body: Value) -> reqwest::Result<reqwest::Response> {
        let request = self.client.post(format!("http://{}{path}", self.address));
        let request = request.header("content-type", "application/json");
        request.body(body.to_string()).send().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_answers_what_has_begun_and_ends_within_ten_seconds() {
    let server = start().await;
    let wallet = json!({ "currency": "INR", "opening_balance": "10" });
    let wallet: Value = server
        .post("/wallets", wallet)
        .await
        .and_then(reqwest::Response::error_for_status)
        .expect("a wallet is made")
        .json()
        .await
        .expect("it is JSON");
    let wallet = wallet["id"].as_str().expect("it has an id").to_owned();
    let lock = format!("select from wallets where id = '{wallet}' for update");
    let lock = server.database.in_the_way(&lock).await;
    let path = format!("/wallets/{wallet}/pay-bill");
    let body = json!({ "amount": "1", "account_number": "W" });
    let (answer, ()) = tokio::join!(server.post(&path, body), async {
        server.database.somebody_waits().await;
        server.process.terminate();
        lock.clear().await;
    });
    let begun = Instant::now();
    assert_eq!(answer.expect("the request is answered").status(), 202);
    assert!(server.process.wait().success());
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn healthy_says_whether_the_process_is_ready() {
    let server = start().await;
    let everywhere = server.admin_address.replace("127.0.0.1", "0.0.0.0");
    let ask = || {
        let environment = [
            ("DATABASE_URL", server.database.url()),
            ("ADMIN_LISTEN", everywhere.as_str()),
        ];
        let mut command = testkit::command("wallet-api", &environment);
        command.arg("healthy").output().expect("it runs")
    };
    let ready = ask();
    assert!(ready.status.success(), "{ready:?}");
    server.process.kill_9();
    let gone = ask();
    let said = String::from_utf8_lossy(&gone.stderr);
    assert_eq!(gone.status.code(), Some(1));
    assert!(
        said.contains("nothing responds at http://0.0.0.0:"),
        "{said}"
    );
}

/// Sends `text`, then nothing more, and returns what comes back until the server hangs up.
async fn stall_after(address: &str, text: &str) -> String {
    let mut stream = TcpStream::connect(address)
        .await
        .expect("the server is there");
    stream
        .write_all(text.as_bytes())
        .await
        .expect("the text is sent");
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer))
        .await
        .expect("the server does not wait for ever")
        .expect("the answer can be read");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_stalls_is_cut_off() {
    let server = start().await;
    assert_eq!(stall_after(&server.address, "").await, "");
    let half_a_header = "POST /wallets HTTP/1.1\r\nhost: localhost\r\ncontent-ty";
    let answer = stall_after(&server.address, half_a_header).await;
    assert!(!answer.contains("200"), "{answer}");
    let half_a_body = "POST /wallets HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                       content-length: 100\r\n\r\n{";
    let answer = stall_after(&server.address, half_a_body).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("urn:problem:body-timeout"), "{answer}");
}

/// Puts `marker` into everything that a client may make up.
async fn send_hostile_requests(address: &str, marker: &str) {
    let body = format!(
        r#"{{"amount": "1", "account_number": "{marker}", "provider": "{marker}", "currency": "{marker}"}}"#
    );
    let headers = format!(
        "host: {{host}}\r\ntraceparent: {marker}\r\nidempotency-key: {marker}\r\nx-operator: {marker}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut text = String::new();
    for (method, path, host) in [
        (marker, "/wallets", "localhost"),
        (marker, "/livez", "localhost"),
        ("GET", marker, "localhost"),
        ("GET", "/wallets", marker),
        ("POST", "/wallets", "localhost"),
        (
            "POST",
            "/wallets/0190b3a0-0000-7000-8000-000000000000/pay-bill",
            "localhost",
        ),
        ("DELETE", "/wallets", "localhost"),
        ("POST", "/dead-letters/retry", "localhost"),
    ] {
        let path = path.replace(marker, &format!("/{marker}"));
        text += &format!(
            "{method} {path} HTTP/1.1\r\n{}",
            headers.replace("{host}", host)
        );
    }
    let end = "GET /wallets HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let answers = stall_after(address, &(text + end)).await;
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 9, "{answers}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_requests_make_no_labels_of_their_own() {
    let server = start().await;
    let series = async || {
        let metrics = server
            .client
            .get(format!("http://{}/metrics", server.admin_address));
        let metrics = metrics.send().await.expect("metrics are answered");
        metrics.text().await.expect("they are text")
    };
    send_hostile_requests(&server.address, "hostile-first").await;
    let after_one = series().await;
    assert!(after_one.contains(r#"method="other""#), "{after_one}");
    for round in 0..50 {
        send_hostile_requests(&server.address, &format!("hostile-{round}")).await;
    }
    let after_many = series().await;
    assert!(!after_many.contains("hostile"), "{after_many}");
    let requests = |metrics: &str| metrics.matches("http_request_duration_seconds").count();
    assert_eq!(requests(&after_many), requests(&after_one), "{after_many}");
    assert_eq!(testkit::metrics_without_help(&after_many), BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_kafka_is_logged_when_it_begins_and_not_at_each_try() {
    let migrations = vec![
        outbox::MIGRATIONS,
        operations::MIGRATIONS,
        wallet_api::MIGRATIONS,
    ];
    let database = TestDatabase::create("wallet", migrations).await;
    let (address, nobody) = (free_address(), free_address());
    let environment = [
        ("DATABASE_URL", database.url()),
        ("KAFKA_BROKERS", &nobody),
        ("LISTEN", &free_address()),
        ("ADMIN_LISTEN", &address),
        ("LOG", "warn"),
    ];
    let mut process = testkit::command("wallet-api", &environment)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("wallet-api starts");
    let client = reqwest::Client::builder().timeout(Duration::from_secs(20));
    let client = client.build().expect("a client is made");
    eventually("Kafka was asked for many times", async || {
        let metrics = client.get(format!("http://{address}/metrics")).send().await;
        let metrics = metrics.map_err(|error| error.to_string())?.text().await;
        let metrics = metrics.map_err(|error| error.to_string())?;
        let errors = metrics
            .lines()
            .filter(|line| line.starts_with("kafka_consumer_errors_total"))
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u32>().ok());
        if errors.sum::<u32>() >= 40 {
            Ok(())
        } else {
            Err(metrics)
        }
    })
    .await;
    process.kill().expect("it runs");
    let log = process.wait_with_output().expect("it has ended").stdout;
    let log = String::from_utf8(log).expect("a log is text");
    let lines = log.lines().count();
    assert!((1..20).contains(&lines), "{lines} lines: {log}");
}
