//! A bill-payer of a test's own: its real intake, executors and routes, on a database of its own, with
//! a provider of its own.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use bill_payer::config::{ExecutorConfig, ProviderConfig};
use bill_payer::executor::{Executor, Round};
use bill_payer::intake::Intake;
use bill_payer::provider::Provider;
use chassis::config::{DatabaseConfig, HttpConfig};
use chassis::consumer::{Handler as _, Record};
use chassis::database::Pool;
use chassis::hosts::Hosts;
use diesel::QueryableByName;
use diesel::sql_types::{Integer, Jsonb, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use events::{BillPaymentRequested, header};
use mock_provider::Behaviour;
use serde_json::{Value, json};
use testkit::{TestDatabase, eventually};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use uuid::Uuid;

pub(crate) const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
pub(crate) const TRACESTATE: &str = "congo=t61rcWkgMzE";

/// Settings of a patient executor whose retries are quick.
pub(crate) fn quick() -> ExecutorConfig {
    ExecutorConfig {
        calls_in_flight_max: 16,
        slow_call_ms: 60_000,
        slow_calls_max: 0,
        claim_lease_ms: 60_000,
        pay_attempts_max: 1_000,
        pay_deadline_ms: 600_000,
        cancel_attempts_max: 1_000,
        cancel_deadline_ms: 600_000,
        retry_first_ms: 10,
        retry_max_ms: 50,
        retry_after_max_ms: 60_000,
        breaker_failures_max: 5,
        breaker_first_ms: 10,
        breaker_max_ms: 50,
    }
}

pub(crate) struct BillPayer {
    pub(crate) database: TestDatabase,
    pub(crate) pool: Pool,
    pub(crate) provider: mock_provider::Provider,
    new_bills: Arc<Notify>,
    pub(crate) router: Router,
}

/// A running executor; it is stopped in order by [`Self::stop`], and cut off when dropped.
pub(crate) struct Running {
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

/// An event of the outbox, as the relay would publish it.
#[derive(Debug, QueryableByName)]
pub(crate) struct Event {
    #[diesel(sql_type = Text)]
    pub(crate) aggregatetype: String,
    #[diesel(sql_type = Text)]
    pub(crate) aggregateid: String,
    #[diesel(sql_type = Text, column_name = "type")]
    pub(crate) event_type: String,
    #[diesel(sql_type = Text)]
    pub(crate) source: String,
    #[diesel(sql_type = Text)]
    pub(crate) traceparent: String,
    #[diesel(sql_type = Text)]
    pub(crate) tracestate: String,
    #[diesel(sql_type = Jsonb)]
    pub(crate) payload: Value,
}

pub(crate) async fn database() -> TestDatabase {
    let migrations = vec![
        outbox::MIGRATIONS,
        operations::MIGRATIONS,
        bill_payer::MIGRATIONS,
    ];
    TestDatabase::create("bill_payer", migrations).await
}

/// A provider on a port of its own, without a journal.
pub(crate) async fn provider() -> mock_provider::Provider {
    let config = mock_provider::ProviderConfig {
        listen: "127.0.0.1:0".to_owned(),
        journal: None,
        hosts: Hosts::default(),
    };
    mock_provider::Provider::start(config)
        .await
        .expect("the provider starts")
}

/// A client of the provider at `url`.
pub(crate) fn client(url: &str, call_timeout_ms: u64) -> Provider {
    let config = ProviderConfig {
        provider_url: url.into(),
        provider_token: None,
        provider_ca_file: None,
        provider_connect_timeout_ms: 1_000,
        provider_call_timeout_ms: call_timeout_ms,
    };
    Provider::new(&config, 16).expect("a client is made")
}

/// What wallet-api asks for, of a new payment.
pub(crate) fn request(account_number: &str) -> BillPaymentRequested {
    BillPaymentRequested {
        payment_id: Uuid::now_v7(),
        wallet_id: Uuid::now_v7(),
        money: serde_json::from_value(json!({ "amount": "100.00", "currency": "INR" })).unwrap(),
        provider: "wifi".to_owned(),
        account_number: account_number.to_owned(),
        idempotency_key: None,
        redriven: false,
    }
}

/// The event as it is on the topic.
pub(crate) fn record(request: &BillPaymentRequested) -> Record {
    let headers = headers(BillPaymentRequested::TYPE);
    Record {
        topic: "wallet.events".to_owned(),
        partition: 0,
        offset: 0,
        timestamp_ms: None,
        key: Some(request.wallet_id.to_string().into_bytes()),
        headers: headers
            .into_iter()
            .map(|(name, value)| (name.to_owned(), Some(value.into_bytes())))
            .collect(),
        payload: Some(serde_json::to_vec(request).unwrap()),
    }
}

/// The headers of an event.
pub(crate) fn headers(event_type: &str) -> Vec<(&'static str, String)> {
    vec![
        (header::ID, Uuid::now_v7().to_string()),
        (header::TYPE, event_type.to_owned()),
        (header::SOURCE, "wallet-api".to_owned()),
        (header::SPECVERSION, "1.0".to_owned()),
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (
            header::TRACEPARENT,
            format!("00-{TRACE}-b7ad6b7169203331-01"),
        ),
        (header::TRACESTATE, TRACESTATE.to_owned()),
    ]
}

impl BillPayer {
    pub(crate) async fn start() -> Self {
        let database = database().await;
        let config = DatabaseConfig::new(database.url(), 8);
        let pool = chassis::database::pool(&config, "bill-payer-test").expect("the pool is made");
        let new_bills = Arc::<Notify>::default();
        let intake = Intake::new(pool.clone(), Arc::clone(&new_bills));
        let router = chassis::http::app(
            bill_payer::http::routes(pool.clone(), intake),
            Router::new(),
            &HttpConfig::default(),
        );
        Self {
            database,
            pool,
            provider: provider().await,
            new_bills,
            router,
        }
    }

    pub(crate) fn behave(&self, behaviour: Behaviour) {
        let set = self.provider.set_behaviour(behaviour);
        set.expect("the behaviour is valid");
    }

    pub(crate) fn intake(&self) -> Intake {
        Intake::new(self.pool.clone(), Arc::clone(&self.new_bills))
    }

    /// Takes a bill in and returns its payment id.
    pub(crate) async fn take(&self, account_number: &str) -> Uuid {
        let request = request(account_number);
        self.take_all(std::slice::from_ref(&request)).await;
        request.payment_id
    }

    pub(crate) async fn take_all(&self, requests: &[BillPaymentRequested]) {
        let records: Vec<Record> = requests.iter().map(record).collect();
        let taken = self.intake().handle(&records).await;
        taken.expect("the bills are taken");
    }

    /// An executor that calls this test's provider.
    pub(crate) fn executor(&self, config: ExecutorConfig) -> Executor {
        self.executor_of(config, client(&self.provider.url(), 30_000))
    }

    pub(crate) fn executor_of(&self, config: ExecutorConfig, provider: Provider) -> Executor {
        let new_bills = Arc::clone(&self.new_bills);
        Executor::new(config, self.pool.clone(), provider, new_bills)
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        self.answer(request).await
    }

    /// An order of an operator; of nobody, if the name is empty.
    pub(crate) async fn post(
        &self,
        path: &str,
        operator: &str,
        order: Value,
    ) -> (StatusCode, Value) {
        let mut request = Request::post(path);
        if !operator.is_empty() {
            request = request.header("x-operator", operator);
        }
        let empty = order == json!({});
        let request = if empty {
            request.body(Body::empty())
        } else {
            let request = request.header("content-type", "application/json");
            request.body(Body::from(order.to_string()))
        };
        self.answer(request.unwrap()).await
    }

    async fn answer(&self, mut request: Request<Body>) -> (StatusCode, Value) {
        let headers = request.headers_mut();
        headers.insert("host", "localhost".parse().unwrap());
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await;
        let body = body.expect("the body is whole");
        if body.is_empty() {
            return (status, Value::Null);
        }
        let body = serde_json::from_slice(&body);
        (status, body.expect("the body is JSON"))
    }

    /// The bill as the API shows it.
    pub(crate) async fn bill(&self, payment_id: Uuid) -> Value {
        let (status, bill) = self.get(&format!("/bills/{payment_id}")).await;
        assert_eq!(status, StatusCode::OK, "{bill}");
        bill
    }

    /// Waits until the bill has that status.
    pub(crate) async fn becomes(&self, payment_id: Uuid, status: &str) -> Value {
        eventually(&format!("the bill is {status}"), async || {
            let bill = self.bill(payment_id).await;
            if bill["status"] == status {
                Ok(bill)
            } else {
                Err(bill.to_string())
            }
        })
        .await
    }

    /// The payment as the provider has it: status, receipt and how often it was called.
    pub(crate) async fn at_provider(&self, payment_id: Uuid) -> Option<(String, Value, u64)> {
        at_provider(&self.provider.url(), payment_id).await
    }

    /// Waits until the provider has been called that often for the payment.
    pub(crate) async fn called(&self, payment_id: Uuid, times: u64) {
        eventually("the provider has been called", async || {
            let payment = self.at_provider(payment_id).await;
            match &payment {
                Some((_, _, calls)) if *calls >= times => Ok(()),
                _ => Err(format!("{payment:?}")),
            }
        })
        .await;
    }

    pub(crate) async fn events(&self) -> Vec<Event> {
        events(&mut self.database.connect().await).await
    }

    /// Ends the leases and back-offs of all bills.
    pub(crate) async fn let_time_pass(&self) {
        let mut conn = self.database.connect().await;
        diesel::sql_query(
            "update bills set next_attempt_at = now() where status in ('paying', 'cancelling')",
        )
        .execute(&mut conn)
        .await
        .expect("time passes");
    }
}

/// The payment as the provider at `url` has it: status, receipt and how often it was called.
pub(crate) async fn at_provider(url: &str, payment_id: Uuid) -> Option<(String, Value, u64)> {
    let payment = provider_get(url, &format!("/payments/{payment_id}")).await?;
    Some((
        payment["status"].as_str()?.to_owned(),
        payment["receipt"].clone(),
        payment["calls"].as_u64()?,
    ))
}

/// A client that gives up in time.
pub(crate) fn http() -> reqwest::Client {
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(testkit::DEADLINE)
        .build();
    client.expect("a client is made")
}

/// What the provider answers to a GET; none if there is nothing.
pub(crate) async fn provider_get(url: &str, path: &str) -> Option<Value> {
    let answer = http().get(format!("{url}{path}")).send().await;
    let answer = answer.expect("the provider answers");
    if answer.status() == StatusCode::NOT_FOUND {
        return None;
    }
    Some(answer.json().await.expect("the answer is JSON"))
}

/// The events of the outbox, in order.
pub(crate) async fn events(conn: &mut AsyncPgConnection) -> Vec<Event> {
    diesel::sql_query("select * from outbox order by seq")
        .load(conn)
        .await
        .expect("the outbox is read")
}

/// Bills that have that status.
pub(crate) async fn count(conn: &mut AsyncPgConnection, status: &str) -> i32 {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = Integer)]
        bills: i32,
    }
    let count: Count =
        diesel::sql_query("select count(*)::int as bills from bills where status = $1")
            .bind::<Text, _>(status)
            .get_result(conn)
            .await
            .expect("the bills are counted");
    count.bills
}

/// Waits until so many bills have that status.
pub(crate) async fn counts(database: &TestDatabase, status: &str, bills: i32) {
    let mut conn = database.connect().await;
    eventually(&format!("{bills} bills are {status}"), async || {
        let seen = count(&mut conn, status).await;
        if seen == bills {
            Ok(())
        } else {
            Err(format!("{seen} are"))
        }
    })
    .await;
}

impl Running {
    pub(crate) fn start(executor: Executor) -> Self {
        let stop = CancellationToken::new();
        #[expect(clippy::disallowed_methods, reason = "aborted when dropped")]
        let task = tokio::spawn(executor.run(stop.clone()));
        Self { stop, task }
    }

    /// Stops the executor as SIGTERM does, and waits for it.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        let ended = (&mut self.task).await.expect("the executor does not panic");
        ended.expect("the executor ends well");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Runs rounds until one has recorded something.
pub(crate) async fn until_recorded(executor: &mut Executor) -> Round {
    eventually("an answer is recorded", async || {
        executor.wait().await;
        let round = executor.run_once().await.expect("the database answers");
        let Round { recorded, .. } = &round;
        if recorded.moved.is_empty()
            && recorded.stale.is_empty()
            && recorded.contradictions.is_empty()
        {
            Err(format!("{round:?}"))
        } else {
            Ok(round)
        }
    })
    .await
}

/// Puts a fixed word in the place of what differs from run to run.
pub(crate) fn blank(mut value: Value, fields: &[&str]) -> Value {
    for field in fields {
        let shown = value.get_mut(field).expect("the field is there");
        if !shown.is_null() {
            *shown = json!(format!("[{field}]"));
        }
    }
    value
}
