//! An outbox and topics of a test's own, and relays for them.

use std::sync::LazyLock;
use std::time::Duration;

use chassis::config::{DatabaseConfig, KafkaConfig};
use chassis::consumer::Record;
use diesel::prelude::*;
use diesel_async::{
    AsyncConnection as _, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection as _,
};
use outbox::schema::outbox::dsl;
use outbox::{NewEvent, append};
use relay::config::Config;
use serde_json::{Value, json};
use testkit::{
    Process, TestDatabase, TopicReader, connect_url, eventually, free_address, kafka_brokers,
    unique_prefix,
};
use uuid::Uuid;

pub(crate) const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

pub(crate) const TRACESTATE: &str = "congo=t61rcWkgMzE";

/// An outbox whose events go to one topic of eight partitions.
pub(crate) struct TestOutbox {
    pub(crate) database: TestDatabase,
    pub(crate) prefix: String,
    pub(crate) topic: TopicReader,
}

impl TestOutbox {
    pub(crate) async fn new() -> Self {
        Self::with_prefix(unique_prefix()).await
    }

    /// With topics under this prefix; the one that is read may be there already.
    pub(crate) async fn with_prefix(prefix: String) -> Self {
        Self {
            database: TestDatabase::create("outbox", vec![outbox::MIGRATIONS]).await,
            topic: TopicReader::create(&format!("{prefix}wallet.events"), 8).await,
            prefix,
        }
    }

    /// A relay that looks around often; `settings` override its own.
    pub(crate) fn relay(&self, settings: &[(&str, &str)]) -> Relay {
        let address = free_address();
        let brokers = kafka_brokers();
        let connect = connect_url();
        let mut environment = vec![
            ("DATABASE_URL", self.database.url()),
            ("KAFKA_BROKERS", &brokers),
            ("CONNECT_URL", &connect),
            ("TOPIC_PREFIX", &self.prefix),
            ("ADMIN_LISTEN", &address),
            ("REBALANCE_EVERY_MS", "50"),
            ("LOG", "error"),
        ];
        environment.extend_from_slice(settings);
        Relay {
            process: Process::start("relay", &environment),
            address,
        }
    }

    /// The settings of a relay in the test's own process.
    pub(crate) fn config(&self) -> Config {
        let database = DatabaseConfig::new(self.database.url(), 8);
        let kafka = KafkaConfig::new(kafka_brokers(), self.prefix.clone());
        Config::new(database, kafka)
    }

    /// Commits one event of each of `keys`, in their order; answers their ids.
    pub(crate) async fn commit(&self, keys: &[&str]) -> Vec<Uuid> {
        let events: Vec<NewEvent> = keys.iter().map(|key| event(key, json!({}))).collect();
        let ids = events.iter().map(|event| event.id).collect();
        append_all(&mut self.database.connect().await, events).await;
        ids
    }

    /// Keys of the events in the outbox, in `seq` order.
    pub(crate) async fn pending(&self) -> Vec<String> {
        dsl::outbox
            .order(dsl::seq)
            .select(dsl::aggregateid)
            .load(&mut self.database.connect().await)
            .await
            .unwrap()
    }

    /// The epoch of the outbox's numbers.
    pub(crate) async fn epoch(&self) -> String {
        let mut conn = self.database.connect().await;
        relay::session::epoch(&mut conn).await.unwrap()
    }

    /// Waits until the outbox holds events of exactly these keys.
    pub(crate) async fn pending_is(&self, keys: &[&str]) {
        eventually(&format!("the outbox holds {keys:?}"), async || {
            let pending = self.pending().await;
            if pending == keys {
                Ok(())
            } else {
                let first: Vec<_> = pending.iter().take(10).collect();
                Err(format!("{} events: {first:?} ...", pending.len()))
            }
        })
        .await;
    }

    /// Makes every delete from the outbox wait until the connection is dropped: the relay stands between publish and
    /// delete.
    pub(crate) async fn deletes_wait(&self) -> AsyncPgConnection {
        let mut conn = self.database.connect().await;
        conn.batch_execute(
            "create function wait() returns trigger language plpgsql as \
                 $$ begin perform pg_advisory_xact_lock_shared(42); return null; end $$; \
             create trigger wait before delete on outbox execute function wait(); \
             select pg_advisory_lock(42)",
        )
        .await
        .unwrap();
        conn
    }

    /// Waits until no relay has a session in the database.
    pub(crate) async fn sessions_are_gone(&self) {
        let sessions = "select count(*) from pg_stat_activity \
             where application_name = 'relay' and datname = current_database()";
        eventually("the dead relay's sessions have ended", async || match self
            .database
            .count(sessions)
            .await
        {
            0 => Ok(()),
            sessions => Err(sessions.to_string()),
        })
        .await;
    }
}

/// A relay process.
pub(crate) struct Relay {
    pub(crate) process: Process,
    address: String,
}

/// The tests' HTTP client.
pub(crate) fn client() -> &'static reqwest::Client {
    static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(15));
        client.pool_max_idle_per_host(0).build().unwrap()
    });
    &CLIENT
}

impl Relay {
    /// Waits until `/readyz` succeeds.
    pub(crate) async fn is_ready(&self) {
        eventually("the relay is ready", async || {
            match self.readiness().await? {
                (true, _) => Ok(()),
                (false, checks) => Err(checks.to_string()),
            }
        })
        .await;
    }

    /// Waits until `/readyz` fails and its check `name` says `text`.
    pub(crate) async fn is_not_ready(&self, name: &str, text: &str) {
        eventually(&format!("{name} is not ready: {text}"), async || {
            let (ready, checks) = self.readiness().await?;
            match checks[name].as_str() {
                Some(check) if !ready && check.contains(text) => Ok(()),
                _ => Err(checks.to_string()),
            }
        })
        .await;
    }

    /// Waits until it serves no more: SIGTERM has arrived.
    pub(crate) async fn is_stopping(&self) {
        eventually("the relay is stopping", async || {
            match self.readiness().await {
                Ok(readiness) => Err(format!("{readiness:?}")),
                Err(_) => Ok(()),
            }
        })
        .await;
    }

    /// Waits until `/metrics` has the line `line`.
    pub(crate) async fn measures(&self, line: &str) {
        eventually(&format!("/metrics says {line}"), async || {
            let metrics = self.get("metrics").await?.1;
            let unsaid = testkit::metrics_without_help(&metrics);
            assert!(unsaid.is_empty(), "{unsaid:?}");
            if metrics.lines().any(|measured| measured == line) {
                Ok(())
            } else {
                Err(metrics)
            }
        })
        .await;
    }

    /// Waits until the counter `name` of `/metrics` is above zero.
    pub(crate) async fn counts(&self, name: &str) {
        eventually(&format!("/metrics counts {name}"), async || {
            let metrics = self.get("metrics").await?.1;
            let count = metrics
                .lines()
                .find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
            match count {
                Some(1_u64..) => Ok(()),
                _ => Err(metrics),
            }
        })
        .await;
    }

    async fn readiness(&self) -> Result<(bool, Value), String> {
        let (ready, body) = self.get("readyz").await?;
        let body: Value = serde_json::from_str(&body).map_err(|error| error.to_string())?;
        Ok((ready, body["checks"].clone()))
    }

    async fn get(&self, path: &str) -> Result<(bool, String), String> {
        let url = format!("http://{}/{path}", self.address);
        let answer = client().get(url).send().await;
        let answer = answer.map_err(|error| error.to_string())?;
        let succeeded = answer.status().is_success();
        let body = answer.text().await.map_err(|error| error.to_string())?;
        Ok((succeeded, body))
    }
}

/// An event of `key` with that payload.
pub(crate) fn event(key: &str, payload: Value) -> NewEvent {
    NewEvent {
        id: Uuid::now_v7(),
        aggregate_type: "wallet",
        aggregate_id: key.to_owned(),
        event_type: "BillPaymentRequested",
        source: "wallet-api",
        traceparent: TRACEPARENT.to_owned(),
        tracestate: TRACESTATE.to_owned(),
        payload,
    }
}

/// Appends `events` in one transaction.
pub(crate) async fn append_all(conn: &mut AsyncPgConnection, events: Vec<NewEvent>) {
    conn.transaction(async |conn| append(conn, events).await)
        .await
        .unwrap();
}

/// The keys of `records`, in order.
pub(crate) fn keys(records: &[Record]) -> Vec<&str> {
    records.iter().map(key).collect()
}

/// The key of `record`.
pub(crate) fn key(record: &Record) -> &str {
    std::str::from_utf8(record.key.as_ref().unwrap()).unwrap()
}

/// The event id of `record`.
pub(crate) fn id(record: &Record) -> Uuid {
    record.header("ce_id").unwrap().parse().unwrap()
}

/// The payload of `record`.
pub(crate) fn payload(record: &Record) -> Value {
    serde_json::from_slice(record.payload.as_ref().unwrap()).unwrap()
}
