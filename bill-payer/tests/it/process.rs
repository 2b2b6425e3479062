//! The process: killed for real, stopped in order, looked at from outside.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use diesel_async::{RunQueryDsl as _, SimpleAsyncConnection as _};
use events::BillPaymentRequested;
use mock_provider::Behaviour;
use serde_json::{Value, json};
use testkit::{
    Process, Proxy, TestDatabase, TopicReader, eventually, kafka_brokers, metrics_without_help,
    produce, unique_prefix,
};

use crate::support::{
    at_provider, counts, database, events, headers, provider, provider_get, request,
};

/// What a bill-payer process works with. It outlives the process.
pub(crate) struct Surroundings {
    database: TestDatabase,
    provider: mock_provider::Provider,
    prefix: String,
    pub(crate) address: String,
}

impl Surroundings {
    pub(crate) async fn make() -> Self {
        let prefix = unique_prefix();
        TopicReader::create(&format!("{prefix}wallet.events"), 1).await;
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        Self {
            database: database().await,
            provider: provider().await,
            prefix,
            address: free.local_addr().unwrap().to_string(),
        }
    }

    fn behave(&self, behaviour: Behaviour) {
        self.provider.set_behaviour(behaviour).unwrap();
    }

    pub(crate) fn start(&self) -> Process {
        self.start_with(&[])
    }

    fn start_with(&self, settings: &[(&str, &str)]) -> Process {
        let (brokers, url) = (kafka_brokers(), self.provider.url());
        let mut environment = vec![
            ("DATABASE_URL", self.database.url()),
            ("KAFKA_BROKERS", &brokers),
            ("TOPIC_PREFIX", &self.prefix),
            ("PROVIDER_URL", &url),
            ("ADMIN_LISTEN", &self.address),
            ("LOG", "warn"),
        ];
        environment.extend_from_slice(settings);
        Process::start("bill-payer", &environment)
    }

    async fn publish(&self, request: &BillPaymentRequested) {
        self.publish_as(request, BillPaymentRequested::TYPE).await;
    }

    async fn publish_as(&self, request: &BillPaymentRequested, event_type: &str) {
        let headers = headers(event_type);
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let topic = format!("{}wallet.events", self.prefix);
        let payload = serde_json::to_vec(request).unwrap();
        produce(&topic, &request.wallet_id.to_string(), &headers, &payload).await;
    }

    /// Waits until the provider has been called that often.
    async fn called(&self, times: u64) {
        eventually("the provider has been called", async || {
            let seen = provider_get(&self.provider.url(), "/payments?limit=1")
                .await
                .unwrap();
            if seen["calls"] == times {
                Ok(())
            } else {
                Err(seen["calls"].to_string())
            }
        })
        .await;
    }

    async fn get(&self, path: &str) -> Result<(u16, String), String> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(testkit::DEADLINE)
            .build();
        let url = format!("http://{}{path}", self.address);
        let answer = client.unwrap().get(url).send().await;
        let answer = answer.map_err(|error| error.to_string())?;
        let status = answer.status().as_u16();
        Ok((
            status,
            answer.text().await.map_err(|error| error.to_string())?,
        ))
    }

    pub(crate) async fn ready(&self) {
        eventually("bill-payer is ready", async || {
            match self.get("/readyz").await? {
                (200, _) => Ok(()),
                (status, body) => Err(format!("{status} {body}")),
            }
        })
        .await;
    }
}

/// Sends SIGTERM and waits for the end; returns how long it took.
async fn terminate(process: Process) -> Duration {
    let begun = Instant::now();
    process.terminate();
    let status = tokio::task::spawn_blocking(|| process.wait())
        .await
        .unwrap();
    assert!(status.success(), "{status}");
    begun.elapsed()
}

#[tokio::test]
async fn killed_between_the_providers_answer_and_its_record_pays_once() {
    let around = Surroundings::make().await;
    // The result event can't be written while somebody has locked the outbox: the process hears the
    // answer, and hangs in the middle of the transaction that records it.
    let mut other = around.database.connect().await;
    other
        .batch_execute("begin; lock table outbox in exclusive mode")
        .await
        .unwrap();
    let process = around.start();
    let request = request("WIFI-1");
    around.publish(&request).await;
    let mut looking = around.database.connect().await;
    eventually("the record hangs", async || {
        let waiting = "select from pg_locks where not granted and relation = 'outbox'::regclass";
        match diesel::sql_query(waiting)
            .execute(&mut looking)
            .await
            .unwrap()
        {
            0 => Err("it does not".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
    process.kill_9();
    other.batch_execute("rollback").await.unwrap();
    let (status, receipt, calls) = at_provider(&around.provider.url(), request.payment_id)
        .await
        .unwrap();
    assert_eq!((status.as_str(), calls), ("accepted", 1));
    counts(&around.database, "paying", 1).await;

    let process = around.start();
    // The lease ends.
    let end_lease = "update bills set next_attempt_at = now() where status = 'paying'";
    diesel::sql_query(end_lease)
        .execute(&mut looking)
        .await
        .unwrap();
    counts(&around.database, "paid", 1).await;
    let (status, again, calls) = at_provider(&around.provider.url(), request.payment_id)
        .await
        .unwrap();
    assert_eq!((status.as_str(), calls), ("accepted", 2));
    assert_eq!(again, receipt);
    let events = events(&mut looking).await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].payload["receipt"], receipt);
    terminate(process).await;
}

#[tokio::test]
async fn sigterm_lets_calls_in_flight_end_and_records_them() {
    let around = Surroundings::make().await;
    around.behave(Behaviour {
        latency_ms: 1_500,
        ..Behaviour::default()
    });
    let process = around.start();
    for _ in 0..10 {
        around.publish(&request("WIFI-1")).await;
    }
    around.called(10).await;
    assert!(terminate(process).await < Duration::from_secs(10));
    counts(&around.database, "paid", 10).await;
    around.called(10).await;
    assert_eq!(events(&mut around.database.connect().await).await.len(), 10);
}

#[tokio::test]
async fn sigterm_does_not_wait_for_hung_calls_and_their_bills_come_back_at_once() {
    let around = Surroundings::make().await;
    around.behave(Behaviour {
        timeout_share: 1.0,
        ..Behaviour::default()
    });
    let patient = [
        ("PROVIDER_CALL_TIMEOUT_MS", "60000"),
        ("CLAIM_LEASE_MS", "600000"),
    ];
    let process = around.start_with(&patient);
    let request = request("WIFI-1");
    around.publish(&request).await;
    around.called(1).await;
    assert!(terminate(process).await < Duration::from_secs(10));
    around.behave(Behaviour::default());
    let process = around.start_with(&patient);
    counts(&around.database, "paid", 1).await;
    let (status, _, calls) = at_provider(&around.provider.url(), request.payment_id)
        .await
        .unwrap();
    assert_eq!((status.as_str(), calls), ("accepted", 2));
    terminate(process).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_with_a_kill_in_it_leaves_all_bills_paying_and_all_are_paid_after_it() {
    let around = Surroundings::make().await;
    let provider = around.provider.url();
    let proxy = Proxy::to(provider.trim_start_matches("http://")).await;
    proxy.refuse();
    let url = format!("http://{}", proxy.address());
    // A bill's attempts are used up within a tenth of a second.
    let settings = [
        ("PROVIDER_URL", url.as_str()),
        ("PAY_ATTEMPTS_MAX", "6"),
        ("RETRY_FIRST_MS", "10"),
        ("RETRY_MAX_MS", "20"),
        ("BREAKER_FIRST_MS", "10"),
        ("BREAKER_MAX_MS", "50"),
        // Bills of the one that was killed come back soon.
        ("PROVIDER_CALL_TIMEOUT_MS", "200"),
        ("CLAIM_LEASE_MS", "2200"),
    ];
    let process = around.start_with(&settings);
    for _ in 0..20 {
        around.publish(&request("WIFI-1")).await;
    }
    let probed = async |probes: u64| {
        eventually("the provider is away, and probed", async || {
            let (_, metrics) = around.get("/metrics").await?;
            let away = metrics.contains("provider_away{call=\"pay\"} 1");
            match number(
                &metrics,
                "provider_calls_total{call=\"pay\",outcome=\"broken\"}",
            ) {
                calls if away && calls >= probes => Ok(()),
                calls => Err(format!("{calls} calls")),
            }
        })
        .await;
    };
    counts(&around.database, "paying", 20).await;
    probed(60).await;
    process.kill_9();
    let process = around.start_with(&settings);
    probed(60).await;
    counts(&around.database, "paying", 20).await;
    proxy.restore();
    counts(&around.database, "paid", 20).await;
    let seen = provider_get(&provider, "/payments?limit=1").await.unwrap();
    assert_eq!(seen["accepted"], 20);
    let events = events(&mut around.database.connect().await).await;
    assert_eq!(events.len(), 20);
    assert!(events.iter().all(|event| event.event_type == "BillPaid"));
    terminate(process).await;
}

/// A counter's value; 0 if it is not there yet.
fn number(metrics: &str, name: &str) -> u64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, |value| value.trim().parse().unwrap())
}

#[tokio::test]
async fn a_retention_that_is_too_short_is_told_at_the_start() {
    let around = Surroundings::make().await;
    for (hours, short) in [("1", "1"), ("1000000", "0")] {
        let process = around.start_with(&[("RETENTION_H", hours)]);
        let topic = format!("{}wallet.events", around.prefix);
        let told = format!("retention_too_short{{topic=\"{topic}\"}} {short}");
        eventually("the retention is compared", async || {
            let (_, metrics) = around.get("/metrics").await?;
            if metrics.contains(&told) {
                Ok(())
            } else {
                Err(format!("no {told} in {metrics}"))
            }
        })
        .await;
        terminate(process).await;
    }
}

#[tokio::test]
async fn health_and_metrics_tell_what_the_process_does() {
    let around = Surroundings::make().await;
    let process = around.start();
    around.ready().await;
    around.publish(&request("WIFI-1")).await;
    around.publish_as(&request("WIFI-1"), "WalletRenamed").await;
    counts(&around.database, "paid", 1).await;
    let (_, ready) = around.get("/readyz").await.unwrap();
    let ready: Value = serde_json::from_str(&ready).unwrap();
    assert_eq!(
        ready["checks"],
        json!({ "database": "ok", "intake": "ok", "kafka": "ok" })
    );
    let mut conn = around.database.connect().await;
    conn.batch_execute("delete from __diesel_schema_migrations where version = '20261125000111'")
        .await
        .unwrap();
    let (status, unready) = around.get("/readyz").await.unwrap();
    assert_eq!(status, 503);
    let older =
        "the schema is older: run `bill-payer migrate` (missing: 2026-11-25-000111_bills_by_time)";
    assert!(unready.contains(older), "{unready}");
    eventually("the metrics tell", async || {
        let (_, metrics) = around.get("/metrics").await?;
        let told = [
            "bill_requests_total{outcome=\"taken\"} 1",
            "bill_requests_total{outcome=\"dead_letter\"} 1",
            "bills_recorded_total{status=\"paid\"} 1",
            "provider_calls_total{call=\"pay\",outcome=\"accepted\"} 1",
            "provider_call_duration_seconds_count{call=\"pay\"} 1",
            "provider_calls_in_flight 0",
            "bills{status=\"parked\"} 0",
            "provider_away{call=\"pay\"} 0",
            "provider_away{call=\"cancel\"} 0",
            "dead_letters_open 0",
            "bills_oldest_age_seconds{status=\"paying\"} 0",
            "database_pool_waiting 0",
            "bills_contradictions_total 0",
            "kafka_consumer_restarts_total{topic=",
            "build_info{service=\"bill-payer\",version=\"0.1.0\"} 1",
            "process_open_fds",
        ];
        assert_eq!(metrics_without_help(&metrics), BTreeSet::new());
        let age = metrics
            .lines()
            .find_map(|line| line.strip_prefix("outbox_oldest_age_seconds "));
        if age.is_none_or(|age| age == "0") {
            return Err(format!(
                "no age of the result that no relay publishes: {age:?}"
            ));
        }
        match told.into_iter().find(|line| !metrics.contains(line)) {
            None => Ok(()),
            Some(line) => Err(format!("no {line} in {metrics}")),
        }
    })
    .await;
    terminate(process).await;
}
