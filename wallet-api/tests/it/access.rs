//! Who may do what at a wallet-api that asks for tokens.

use std::fmt::Write as _;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use testkit::{Process, TestDatabase, eventually, free_address, kafka_brokers, unique_prefix};

pub(crate) struct Server {
    pub(crate) customers: String,
    pub(crate) operators: String,
    pub(crate) client: reqwest::Client,
    database: TestDatabase,
    _tokens: tempfile::NamedTempFile,
    _process: Process,
}

/// Each is his own token.
const CALLERS: [&str; 4] = [
    "shop wallets:read,wallets:write",
    "asha wallets:read,wallets:write owner=asha",
    "ravi wallets:read,wallets:write owner=ravi",
    "op operate",
];

fn token_file() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut lines = String::new();
    for caller in CALLERS {
        let mut words = caller.split(' ');
        let (name, scopes) = (words.next().unwrap(), words.next().unwrap());
        let hash = Sha256::digest(name);
        let hash = hash.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        });
        let owner = words.next().unwrap_or_default();
        writeln!(lines, "{name} {scopes} sha256:{hash} {owner}").unwrap();
    }
    std::fs::write(file.path(), lines).unwrap();
    file
}

async fn database() -> TestDatabase {
    let migrations = vec![
        outbox::MIGRATIONS,
        operations::MIGRATIONS,
        wallet_api::MIGRATIONS,
    ];
    TestDatabase::create("wallet", migrations).await
}

impl Server {
    pub(crate) async fn start() -> Self {
        let database = database().await;
        let tokens = token_file();
        let (customers, operators) = (free_address(), free_address());
        let process = Process::start(
            "wallet-api",
            &[
                ("DATABASE_URL", database.url()),
                ("KAFKA_BROKERS", &kafka_brokers()),
                ("TOPIC_PREFIX", &unique_prefix()),
                ("LISTEN", &customers),
                ("ADMIN_LISTEN", &operators),
                ("ACCESS_TOKENS_FILE", tokens.path().to_str().unwrap()),
                ("LOG", "warn"),
            ],
        );
        let client = reqwest::Client::builder().timeout(Duration::from_secs(20));
        let server = Self {
            customers,
            operators,
            client: client.build().unwrap(),
            database,
            _tokens: tokens,
            _process: process,
        };
        eventually("wallet-api is ready, for whoever asks", async || {
            let ready = format!("http://{}/readyz", server.operators);
            let answer = server.client.get(ready).send().await;
            match answer.map(|answer| answer.status().as_u16()) {
                Ok(200) => Ok(()),
                seen => Err(format!("{seen:?}")),
            }
        })
        .await;
        server
    }

    /// Status and body.
    async fn ask(
        &self,
        address: &str,
        who: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let url = format!("http://{address}{path}");
        let mut request = self.client.request(method, url).bearer_auth(who);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request
            .header("x-operator", "somebody-else")
            .header("idempotency-key", "k");
        let answer = answer.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or(Value::Null))
    }

    async fn get(&self, who: &str, path: &str) -> (u16, Value) {
        self.ask(&self.customers, who, Method::GET, path, None)
            .await
    }

    pub(crate) async fn post(&self, who: &str, path: &str, body: Value) -> (u16, Value) {
        let body = Some(body);
        self.ask(&self.customers, who, Method::POST, path, body)
            .await
    }
}

fn kind(answer: &(u16, Value)) -> (u16, &str) {
    let kind = answer.1["type"].as_str().unwrap_or_default();
    (answer.0, kind.trim_start_matches("urn:problem:"))
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn customers_and_operators_have_a_port_and_a_scope_each() {
    let server = Server::start().await;
    let (customers, operators) = (server.customers.as_str(), server.operators.as_str());
    let wallet = json!({ "currency": "INR" });
    let all = json!({ "pending_for": "0s" });
    for (address, who, method, path, body, expected) in [
        (
            customers,
            "shop",
            Method::POST,
            "/wallets",
            Some(&wallet),
            (201, ""),
        ),
        (
            customers,
            "op",
            Method::POST,
            "/wallets",
            Some(&wallet),
            (403, "scope-missing"),
        ),
        (
            customers,
            "x",
            Method::POST,
            "/wallets",
            Some(&wallet),
            (401, "bad-token"),
        ),
        (
            customers,
            "op",
            Method::GET,
            "/wallets",
            None,
            (403, "scope-missing"),
        ),
        (
            operators,
            "op",
            Method::GET,
            "/dead-letters",
            None,
            (200, ""),
        ),
        (
            operators,
            "shop",
            Method::GET,
            "/dead-letters",
            None,
            (403, "scope-missing"),
        ),
        (
            operators,
            "shop",
            Method::POST,
            "/payments/redrive",
            Some(&all),
            (403, "scope-missing"),
        ),
        // No port has the other's routes.
        (
            customers,
            "op",
            Method::POST,
            "/payments/redrive",
            Some(&all),
            (405, "method-not-allowed"),
        ),
        (
            customers,
            "op",
            Method::GET,
            "/dead-letters",
            None,
            (404, "not-found"),
        ),
        (
            customers,
            "op",
            Method::GET,
            "/livez",
            None,
            (404, "not-found"),
        ),
        (
            customers,
            "op",
            Method::GET,
            "/metrics",
            None,
            (404, "not-found"),
        ),
        (
            operators,
            "shop",
            Method::GET,
            "/wallets",
            None,
            (404, "not-found"),
        ),
    ] {
        let asked = format!("{who}: {method} {path}");
        let answer = server.ask(address, who, method, path, body.cloned()).await;
        assert_eq!(kind(&answer), expected, "{asked}");
    }
    for path in ["/livez", "/readyz", "/metrics"] {
        let answer = server.client.get(format!("http://{operators}{path}"));
        assert!(answer.send().await.unwrap().status().is_success(), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_did_stands_under_the_name_of_his_token() {
    let server = Server::start().await;
    let (_, wallet) = server
        .post(
            "shop",
            "/wallets",
            json!({ "currency": "INR", "opening_balance": "5" }),
        )
        .await;
    let pay = format!("/wallets/{}/pay-bill", wallet["id"].as_str().unwrap());
    let bill = json!({ "amount": "1", "account_number": "WIFI-1" });
    assert_eq!(server.post("shop", &pay, bill).await.0, 202);
    let all = Some(json!({ "pending_for": "0s" }));
    let ask = async |method, path, body| {
        server
            .ask(&server.operators, "op", method, path, body)
            .await
    };
    let redriven = ask(Method::POST, "/payments/redrive", all).await;
    assert_eq!((redriven.0, &redriven.1["redriven"]), (200, &json!(1)));
    let (_, actions) = ask(Method::GET, "/operator-actions", None).await;
    assert_eq!(actions["items"][0]["operator"], "op", "{actions}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_has_no_wallets_but_his_own() {
    let server = Server::start().await;
    let empty = json!({ "currency": "INR" });
    let full = json!({ "currency": "INR", "opening_balance": "5" });
    let of_asha = server.post("asha", "/wallets", empty.clone()).await;
    assert_eq!(of_asha.0, 201, "{of_asha:?}");
    let id = of_asha.1["id"].as_str().unwrap().to_owned();
    let at = |rest: &str| format!("/wallets/{id}{rest}");
    let ten = json!({ "amount": "10" });
    let bill = json!({ "amount": "1", "account_number": "WIFI-1" });

    // The same key is another owner's request.
    let answer = server.post("ravi", "/wallets", empty).await;
    assert_eq!(kind(&answer), (422, "idempotency-key-reused"));
    // Money is put in by others than owners.
    for answer in [
        server.post("asha", "/wallets", full).await,
        server.post("asha", &at("/top-ups"), ten.clone()).await,
    ] {
        assert_eq!(kind(&answer), (403, "owner-adds-no-money"));
    }
    assert_eq!(
        server.post("shop", &at("/top-ups"), ten.clone()).await.0,
        201
    );
    let payment = server.post("asha", &at("/pay-bill"), bill.clone()).await;
    assert_eq!(payment.0, 202, "{payment:?}");
    let payment = format!("/payments/{}", payment.1["id"].as_str().unwrap());

    for path in [at(""), at("/payments"), at("/transfers"), payment] {
        assert_eq!(server.get("asha", &path).await.0, 200, "{path}");
        assert_eq!(server.get("shop", &path).await.0, 200, "{path}");
        assert_eq!(server.get("ravi", &path).await.0, 404, "{path}");
    }
    // As it is for a wallet that does not exist.
    for wallet in [id.as_str(), "0190b3a0-0000-7000-8000-000000000000"] {
        let answer = server.get("ravi", &format!("/wallets/{wallet}")).await;
        assert_eq!(kind(&answer), (404, "unknown-wallet"));
        for (path, body) in [("top-ups", &ten), ("pay-bill", &bill)] {
            let path = format!("/wallets/{wallet}/{path}");
            let answer = server.post("ravi", &path, body.clone()).await;
            assert_eq!(kind(&answer), (404, "unknown-wallet"), "{path}");
        }
    }
    assert_eq!(server.get("ravi", "/wallets/x").await.0, 400);
    let list = async |who| server.get(who, "/wallets").await.1["items"].clone();
    assert_eq!(list("ravi").await, json!([]));
    assert_eq!(list("asha").await[0]["balance"], "9.00");
    assert_eq!(list("shop").await[0]["balance"], "9.00");
    let written = "select count(*) from payments";
    assert_eq!(server.database.count(written).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_strangers_could_call_does_not_start() {
    let database = database().await;
    let output = testkit::command(
        "wallet-api",
        &[
            ("DATABASE_URL", database.url()),
            ("KAFKA_BROKERS", &kafka_brokers()),
            ("LISTEN", "0.0.0.0:0"),
            ("ADMIN_LISTEN", &free_address()),
            ("LOG", "off"),
        ],
    )
    .output()
    .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("LISTEN=0.0.0.0:0 is reachable from other machines"),
        "{said}"
    );
    assert!(said.contains("ACCESS=anyone"), "{said}");
}
