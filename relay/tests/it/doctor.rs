//! `relay doctor`: the real binary, on servers that lack something and on servers that do not.

use std::collections::BTreeMap;

use chassis::kafka;
use diesel_async::SimpleAsyncConnection as _;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use serde_json::Value;
use testkit::{PostgresServer, TestDatabase, connect_url, kafka_brokers, unique_prefix};

use crate::refused::large;
use crate::test_outbox::append_all;

/// What the doctor says: its exit code, and for each check the verdict, what was found and the remedy.
struct Diagnosis {
    code: i32,
    checks: BTreeMap<String, Value>,
}

impl Diagnosis {
    async fn of(url: &str, settings: &[(&str, &str)], arguments: &[&str]) -> Self {
        let brokers = kafka_brokers();
        let mut environment = vec![("DATABASE_URL", url), ("KAFKA_BROKERS", &brokers)];
        environment.extend_from_slice(settings);
        let mut command = testkit::command("relay", &environment);
        command.arg("doctor").arg("--json").args(arguments);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap());
        let output = output.await.unwrap();
        let findings = serde_json::from_slice::<Vec<Value>>(&output.stdout);
        let findings = findings.expect("the doctor prints its findings as JSON");
        let name = |finding: &Value| finding["check"].as_str().unwrap().to_owned();
        Self {
            code: output.status.code().unwrap(),
            checks: findings.into_iter().map(|it| (name(&it), it)).collect(),
        }
    }

    /// Asserts the verdict of `check`, and that its remedy contains `remedy`.
    fn says(&self, check: &str, verdict: &str, remedy: &str) {
        assert!(
            self.checks.contains_key(check),
            "{check} is not in {:?}",
            self.checks
        );
        let finding = &self.checks[check];
        assert_eq!(finding["verdict"], verdict, "{finding}");
        let said = finding["remedy"].as_str().unwrap_or_default();
        assert!(said.contains(remedy), "{finding}");
    }

    fn wrong(&self) -> Vec<&str> {
        let wrong = self
            .checks
            .iter()
            .filter(|(_, finding)| finding["verdict"] == "wrong");
        wrong.map(|(check, _)| check.as_str()).collect()
    }
}

async fn create_topic(name: &str, settings: &[(&str, &str)]) {
    let admin: AdminClient<DefaultClientContext> = kafka::client(kafka_brokers(), "doctor-test")
        .create()
        .unwrap();
    let mut topic = NewTopic::new(name, 2, TopicReplication::Fixed(1));
    for (key, value) in settings {
        topic = topic.set(key, value);
    }
    let created = admin
        .create_topics([&topic], &AdminOptions::new())
        .await
        .unwrap();
    assert!(created.iter().all(Result::is_ok), "{created:?}");
}

#[tokio::test]
async fn a_default_postgresql_and_a_default_kafka_are_told_what_to_change() {
    let server = PostgresServer::start(&[]).await;
    let database = server.database(vec![outbox::MIGRATIONS]).await;
    let prefix = unique_prefix();
    let topic = format!("{prefix}wallet.events");
    create_topic(&topic, &[]).await;
    let settings = [("RELAY_MODE", "cdc"), ("TOPIC_PREFIX", prefix.as_str())];
    let arguments = ["--topic", "wallet.events", "--topic", "bill.events"];
    let found = Diagnosis::of(database.url(), &settings, &arguments).await;

    found.says(
        "wal_level",
        "wrong",
        "alter system set wal_level = 'logical', and restart",
    );
    // The tests' servers run without fsync.
    found.says("fsync, full_page_writes", "wrong", "set both to on");
    found.says(
        "synchronous standby",
        "advice",
        "have a synchronous standby",
    );
    found.says("max_slot_wal_keep_size", "advice", "such as 4GB");
    found.says("Kafka brokers", "wrong", "run at least 3");
    found.says(
        &format!("{topic}: replicas"),
        "wrong",
        "reassign the partitions to 3 brokers",
    );
    found.says(
        &format!("{topic}: min.insync.replicas"),
        "wrong",
        "set it to 2",
    );
    found.says(&format!("{topic}: retention.ms"), "ok", "");
    found.says(
        &format!("{prefix}bill.events: partitions"),
        "wrong",
        "create it",
    );
    assert_eq!(found.code, 1);
}

#[tokio::test]
async fn servers_that_are_set_up_pass() {
    let server = PostgresServer::start(&["wal_level = logical", "fsync = on"]).await;
    let database = server.database(vec![outbox::MIGRATIONS]).await;
    let prefix = unique_prefix();
    create_topic(&format!("{prefix}wallet.events"), &[]).await;
    for mode in ["poller", "cdc"] {
        let settings = [
            ("RELAY_MODE", mode),
            ("TOPIC_PREFIX", prefix.as_str()),
            ("REPLICAS_MIN", "1"),
        ];
        let found = Diagnosis::of(database.url(), &settings, &["--topic", "wallet.events"]).await;
        assert_eq!(found.wrong(), [""; 0], "{mode}");
        assert_eq!(found.code, 0, "{mode}");
        assert_eq!(found.checks.contains_key("wal_level"), mode != "poller");
    }
}

#[tokio::test]
async fn kafka_connect_is_looked_at_in_mode_debezium() {
    let database = TestDatabase::create("outbox", vec![outbox::MIGRATIONS]).await;
    let connect = connect_url();
    let settings = [("RELAY_MODE", "debezium"), ("CONNECT_URL", &connect)];
    let found = Diagnosis::of(database.url(), &settings, &[]).await;
    found.says("Kafka Connect", "ok", "");
    found.says("wal_level", "ok", "");
}

#[tokio::test]
async fn a_role_without_privileges_is_told_the_grants() {
    let server = PostgresServer::start(&["wal_level = logical", "fsync = on"]).await;
    let database = server.database(vec![outbox::MIGRATIONS]).await;
    let mut conn = database.connect().await;
    conn.batch_execute("create role modest login; grant select on outbox to modest")
        .await
        .unwrap();
    let url = database.url_as("modest");
    let found = Diagnosis::of(&url, &[("RELAY_MODE", "cdc")], &[]).await;
    found.says(
        "privileges",
        "wrong",
        "grant delete on outbox to \"modest\"; grant select on parked_events",
    );
    found.says(
        "replication role",
        "wrong",
        "alter role \"modest\" replication",
    );
    found.says(
        "publication",
        "wrong",
        "create publication outbox_relay for table outbox",
    );
    found.says(
        "reads migrations",
        "advice",
        "grant select on __diesel_schema_migrations",
    );

    // The remedies are the statements that help.
    for check in [
        "privileges",
        "replication role",
        "publication",
        "reads migrations",
    ] {
        let remedy = found.checks[check]["remedy"].as_str().unwrap();
        let remedy = remedy
            .split(", so that")
            .next()
            .unwrap()
            .replace(", as an administrator", "");
        conn.batch_execute(&remedy).await.unwrap();
    }
    let found = Diagnosis::of(&url, &[("RELAY_MODE", "cdc"), ("REPLICAS_MIN", "1")], &[]).await;
    assert_eq!(found.wrong(), [""; 0]);
}

#[tokio::test]
async fn topics_that_lose_or_refuse_events_are_told_what_to_change() {
    let database = TestDatabase::create("outbox", vec![outbox::MIGRATIONS]).await;
    append_all(&mut database.connect().await, vec![large("a", 300_000)]).await;
    let prefix = unique_prefix();
    let topic = format!("{prefix}wallet.events");
    let settings = [
        ("max.message.bytes", "1000"),
        ("retention.ms", "3600000"),
        ("cleanup.policy", "compact"),
        ("unclean.leader.election.enable", "true"),
    ];
    create_topic(&topic, &settings).await;
    let bills = format!("{prefix}bill.events");
    create_topic(&bills, &[("retention.ms", "-1")]).await;
    // The topic of the event in the outbox is found by itself.
    let settings = [
        ("TOPIC_PREFIX", prefix.as_str()),
        ("MESSAGE_BYTES_MAX", "200000"),
    ];
    let found = Diagnosis::of(database.url(), &settings, &["--topic", "bill.events"]).await;
    found.says("largest event", "wrong", "raise MESSAGE_BYTES_MAX");
    found.says(
        &format!("{topic}: max.message.bytes"),
        "wrong",
        "set it to at least 200000",
    );
    found.says(
        &format!("{topic}: retention.ms"),
        "wrong",
        "CONSUMER_STOP_H_MAX=72",
    );
    found.says(
        &format!("{topic}: cleanup.policy"),
        "wrong",
        "set it to delete",
    );
    found.says(
        &format!("{topic}: unclean.leader.election.enable"),
        "wrong",
        "set it to false",
    );
    found.says(&format!("{bills}: retention.ms"), "wrong", "RETENTION_H");
    assert_eq!(found.code, 1);
}

#[tokio::test]
async fn servers_that_do_not_answer_are_findings_and_so_is_a_database_without_tables() {
    let nobody = testkit::free_address();
    let url = format!("postgres://postgres@{nobody}/postgres");
    let connect = format!("http://{nobody}");
    let settings = [
        ("KAFKA_BROKERS", nobody.as_str()),
        ("CONNECT_URL", &connect),
        ("RELAY_MODE", "debezium"),
    ];
    let found = Diagnosis::of(&url, &settings, &[]).await;
    assert_eq!(found.wrong(), ["Kafka", "Kafka Connect", "PostgreSQL"]);
    assert_eq!(found.code, 1);

    let empty = TestDatabase::create("empty", Vec::new()).await;
    let found = Diagnosis::of(empty.url(), &[("RELAY_MODE", "cdc")], &[]).await;
    found.says("table outbox", "wrong", "wallet-api migrate");
}
