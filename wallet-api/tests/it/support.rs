//! A wallet-api of a test's own: its real routes and writers, on a database of its own.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode};
use chassis::access::Access;
use chassis::config::{DatabaseConfig, HttpConfig, KafkaConfig};
use chassis::database::Pool;
use chassis::http::app;
use diesel::QueryableByName;
use diesel::sql_types::Text;
use diesel_async::RunQueryDsl;
use serde_json::{Value, json};
use testkit::{TestDatabase, kafka_brokers, unique_prefix};
use tower::ServiceExt as _;
use wallet_api::config::{Lab, WriterConfig};
use wallet_api::group_commit::{PaymentWriter, group_commit};
use wallet_api::http::{App, operators_routes, routes};
use wallet_api::pattern::Pattern;
use wallet_api::patterns::{MessageTimeout, Patterns, Publisher};

pub(crate) struct WalletApi {
    pub(crate) database: TestDatabase,
    pub(crate) pool: Pool,
    pub(crate) router: Router,
    /// With topics of its own, which are the test's to create.
    pub(crate) kafka: KafkaConfig,
}

/// How long a request waits for Kafka. Only a test of an outage waits that long.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("headers are ASCII"))
    }

    pub(crate) fn id(&self) -> String {
        self.body["id"]
            .as_str()
            .expect("the answer has an id")
            .to_owned()
    }

    /// The `type` of a problem, without its prefix.
    pub(crate) fn problem(&self) -> &str {
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{self:?}"
        );
        assert_eq!(self.body["status"], self.status.as_u16(), "{self:?}");
        self.body["type"]
            .as_str()
            .and_then(|kind| kind.strip_prefix("urn:problem:"))
            .expect("a problem has a type")
    }
}

impl WalletApi {
    pub(crate) async fn start() -> Self {
        Self::with_pattern(Pattern::Outbox, Lab::Off).await
    }

    pub(crate) async fn with_pattern(pattern: Pattern, lab: Lab) -> Self {
        let config = WriterConfig::default();
        let (api, writers) = Self::with(&config, pattern, lab).await;
        for writer in writers {
            #[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
            tokio::spawn(writer.run());
        }
        api
    }

    /// The writers are the test's to run.
    pub(crate) async fn with_writers(config: &WriterConfig) -> (Self, Vec<PaymentWriter>) {
        Self::with(config, Pattern::Outbox, Lab::Off).await
    }

    async fn with(config: &WriterConfig, pattern: Pattern, lab: Lab) -> (Self, Vec<PaymentWriter>) {
        let database = TestDatabase::create(
            "wallet",
            vec![
                outbox::MIGRATIONS,
                operations::MIGRATIONS,
                wallet_api::MIGRATIONS,
            ],
        )
        .await;
        let pool =
            chassis::database::pool(&DatabaseConfig::new(database.url(), 8), "wallet-api-test")
                .expect("the pool is made");
        let kafka = KafkaConfig::new(kafka_brokers(), unique_prefix());
        let (queue, writers) = group_commit(config, &pool);
        let publisher = Publisher::new(&kafka, MessageTimeout::After(PUBLISH_TIMEOUT)).unwrap();
        let app_state = App {
            pool: pool.clone(),
            payments: Arc::new(Patterns::new(queue, pool.clone(), publisher)),
            pattern,
            lab,
        };
        let customers = routes(app_state, &Access::default());
        let routes = customers.merge(operators_routes(&pool));
        let api = Self {
            database,
            pool,
            router: app(routes, Router::new(), &HttpConfig::default()),
            kafka,
        };
        (api, writers)
    }

    pub(crate) async fn send(&self, mut request: Request<Body>) -> Answer {
        let host = HeaderValue::from_static("localhost");
        request.headers_mut().insert("host", host);
        let response = self
            .router
            .clone()
            .oneshot(request)
            .await
            .expect("the router is infallible");
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 1 << 20)
            .await
            .expect("the body is whole");
        let body = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes).expect("the body is JSON")
        };
        Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        let request = Request::get(path).body(Body::empty());
        self.send(request.expect("the request is valid")).await
    }

    pub(crate) async fn post(&self, path: &str, key: Option<&str>, body: &Value) -> Answer {
        self.post_text(path, key, &body.to_string()).await
    }

    pub(crate) async fn post_text(&self, path: &str, key: Option<&str>, body: &str) -> Answer {
        let mut request = Request::post(path).header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let request = request.body(Body::from(body.to_owned()));
        self.send(request.expect("the request is valid")).await
    }

    /// A wallet in INR.
    pub(crate) async fn wallet(&self, opening_balance: &str) -> String {
        let wallet = json!({ "currency": "INR", "opening_balance": opening_balance });
        let answer = self.post("/wallets", None, &wallet).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        answer.id()
    }

    pub(crate) async fn pay(&self, wallet: &str, key: Option<&str>, amount: &str) -> Answer {
        let path = format!("/wallets/{wallet}/pay-bill");
        let body = json!({ "amount": amount, "account_number": "WIFI-1" });
        self.post(&path, key, &body).await
    }

    /// A payment of 1, with these headers.
    pub(crate) async fn pay_with(
        &self,
        wallet: &str,
        key: Option<&str>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = Request::post(format!("/wallets/{wallet}/pay-bill"))
            .header("content-type", "application/json");
        let key = key.map(|key| ("idempotency-key", key));
        for (name, value) in headers.iter().copied().chain(key) {
            request = request.header(name, value);
        }
        let body = json!({ "amount": "1", "account_number": "WIFI-1" }).to_string();
        self.send(
            request
                .body(Body::from(body))
                .expect("the request is valid"),
        )
        .await
    }

    pub(crate) async fn balance(&self, wallet: &str) -> String {
        let answer = self.get(&format!("/wallets/{wallet}")).await;
        answer.body["balance"]
            .as_str()
            .expect("a balance")
            .to_owned()
    }

    /// One number out of the database.
    pub(crate) async fn count(&self, sql: &str) -> i64 {
        self.database.count(sql).await
    }

    /// One column `text` out of the database.
    pub(crate) async fn texts(&self, sql: &str) -> Vec<String> {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = Text)]
            text: String,
        }
        let mut conn = self.database.connect().await;
        let rows: Vec<Row> = diesel::sql_query(sql)
            .load(&mut conn)
            .await
            .expect("the query is valid");
        rows.into_iter().map(|row| row.text).collect()
    }

    /// What must be true whatever happened: promise 1.
    pub(crate) async fn assert_money_is_conserved(&self) {
        let differing = self
            .count(
                "select count(*) from wallets where balance <> \
                 coalesce((select sum(amount) from transfers where credit_account = wallets.id), 0) - \
                 coalesce((select sum(amount) from transfers where debit_account = wallets.id), 0)",
            )
            .await;
        assert_eq!(differing, 0, "balances that differ from the ledger");
        assert_eq!(
            self.count("select count(*) from wallets where balance < 0")
                .await,
            0
        );
    }
}
