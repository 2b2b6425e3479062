//! The broker and its topics: what they are asked, and the list of their checks.

use std::time::Duration;

use anyhow::Context as _;
use chassis::config::KafkaConfig;
use chassis::kafka::{self, LogContext};
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, ResourceSpecifier};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::metadata::MetadataTopic;

use super::Expectations;
use super::finding::Finding;
use crate::SERVICE;
use crate::config::Config;

/// How long a broker may take to answer a question.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

const HOUR_MS: i64 = 3_600_000;

#[derive(Debug, Clone)]
pub(super) struct Facts {
    security_protocol: String,
    is_local: bool,
    brokers: usize,
    version: Version,
    /// `None`: the brokers do not tell this user.
    creates_topics: Option<bool>,
    topics: Vec<Topic>,
}

/// No request of the protocol returns it, but until 4.0 the brokers have a setting that says it.
#[derive(Debug, Clone)]
enum Version {
    Until3(String),
    From4,
    /// The brokers do not tell this user.
    Unknown,
}

#[derive(Debug, Clone)]
struct Topic {
    /// With its prefix.
    name: String,
    partitions: Vec<Partition>,
    /// `None`: the brokers do not tell this user.
    settings: Option<Settings>,
}

#[derive(Debug, Clone)]
struct Partition {
    replicas: usize,
    in_sync: usize,
    has_leader: bool,
}

#[derive(Debug, Clone)]
struct Settings {
    min_in_sync: i64,
    elects_unclean: bool,
    message_bytes_max: i64,
    /// -1: for ever.
    retention_ms: i64,
    /// -1: no limit.
    retention_bytes: i64,
    cleanup_policy: String,
}

/// Asks for the facts of `topics`, which have no prefix yet.
pub(super) async fn examine(config: &KafkaConfig, topics: &[String]) -> anyhow::Result<Facts> {
    let client = kafka::client(&config.brokers()?, SERVICE);
    let security_protocol = client.get("security.protocol").unwrap_or("plaintext");
    let security_protocol = security_protocol.to_lowercase();
    let names: Vec<String> = topics.iter().map(|topic| config.prefixed(topic)).collect();
    let consumer: BaseConsumer<LogContext> = client
        .create_with_context(LogContext::of("asking for the topics"))
        .context("making a Kafka client")?;
    let admin: AdminClient<LogContext> = client
        .create_with_context(LogContext::of("asking for the topics' settings"))
        .context("making a Kafka admin client")?;
    let metadata = tokio::task::spawn_blocking(move || metadata(&consumer, &names));
    let Metadata {
        broker_ids,
        mut topics,
    } = metadata.await??;

    let options = AdminOptions::new().request_timeout(Some(ANSWER_WITHIN));
    for topic in topics
        .iter_mut()
        .filter(|topic| !topic.partitions.is_empty())
    {
        let resource = ResourceSpecifier::Topic(&topic.name);
        let described = admin.describe_configs([&resource], &options).await;
        let described = described.context("asking for a topic's settings")?;
        topic.settings = described
            .into_iter()
            .next()
            .and_then(Result::ok)
            .and_then(|it| settings(&it));
    }
    let first = broker_ids.first().copied().unwrap_or_default();
    let described = admin
        .describe_configs([&ResourceSpecifier::Broker(first)], &options)
        .await
        .context("asking for the broker's settings")?;
    let broker = described.into_iter().next().and_then(Result::ok);
    let creates_topics = broker.as_ref();
    let creates_topics = creates_topics.and_then(|it| value(it, "auto.create.topics.enable"));
    let version = match broker.map(|it| value(&it, "inter.broker.protocol.version")) {
        Some(Some(version)) => Version::Until3(version),
        Some(None) => Version::From4,
        None => Version::Unknown,
    };
    Ok(Facts {
        security_protocol,
        is_local: config.kafka_brokers.split(',').all(is_local),
        brokers: broker_ids.len(),
        version,
        creates_topics,
        topics,
    })
}

struct Metadata {
    broker_ids: Vec<i32>,
    topics: Vec<Topic>,
}

/// Blocks. Asks for one topic after the other: all topics of a broker would be a long answer. A consumer asks, because
/// a question of a producer may create the topic.
fn metadata(consumer: &BaseConsumer<LogContext>, names: &[String]) -> anyhow::Result<Metadata> {
    let brokers = consumer
        .fetch_metadata(Some("__consumer_offsets"), ANSWER_WITHIN)
        .context("no Kafka broker answers")?;
    let mut topics = Vec::new();
    for name in names {
        let metadata = consumer
            .fetch_metadata(Some(name), ANSWER_WITHIN)
            .with_context(|| format!("asking for the topic {name}"))?;
        topics.push(Topic {
            name: name.clone(),
            partitions: metadata
                .topics()
                .first()
                .map(partitions)
                .unwrap_or_default(),
            settings: None,
        });
    }
    Ok(Metadata {
        broker_ids: brokers
            .brokers()
            .iter()
            .map(rdkafka::metadata::MetadataBroker::id)
            .collect(),
        topics,
    })
}

fn partitions(topic: &MetadataTopic) -> Vec<Partition> {
    let partition = |found: &rdkafka::metadata::MetadataPartition| Partition {
        replicas: found.replicas().len(),
        in_sync: found.isr().len(),
        has_leader: found.leader() >= 0,
    };
    topic.partitions().iter().map(partition).collect()
}

fn settings(described: &ConfigResource) -> Option<Settings> {
    Some(Settings {
        min_in_sync: value(described, "min.insync.replicas")?,
        elects_unclean: value(described, "unclean.leader.election.enable")?,
        message_bytes_max: value(described, "max.message.bytes")?,
        retention_ms: value(described, "retention.ms")?,
        retention_bytes: value(described, "retention.bytes")?,
        cleanup_policy: value(described, "cleanup.policy")?,
    })
}

fn value<T: std::str::FromStr>(described: &ConfigResource, name: &str) -> Option<T> {
    described.get(name)?.value.as_deref()?.parse().ok()
}

fn is_local(broker: &str) -> bool {
    let host = broker
        .trim()
        .rsplit_once(':')
        .map_or(broker, |(host, _)| host);
    host == "localhost" || host == "[::1]" || host.starts_with("127.")
}

/// The list of checks of the broker and of each topic, in the order in which they are printed.
pub(super) fn judge(facts: &Facts, config: &Config, expectations: &Expectations) -> Vec<Finding> {
    let mut findings = vec![
        brokers(facts, expectations.replicas_min),
        version(&facts.version),
        security_protocol(facts),
        topic_creation(facts),
    ];
    if facts.topics.is_empty() {
        findings.push(Finding::advice(
            "topics",
            "the outbox is empty, so no topic is known",
            "name the topics: --topic wallet.events --topic bill.events",
        ));
    }
    for topic in &facts.topics {
        let check = |name: &str| format!("{}: {name}", topic.name);
        if topic.partitions.is_empty() {
            let remedy = format!(
                "create it, with {} replicas and as many partitions as payments shall be processed at a time",
                expectations.replicas_min
            );
            findings.push(Finding::wrong(
                check("partitions"),
                "the topic is missing",
                remedy,
            ));
            continue;
        }
        findings.extend([
            partition_leaders(check("partitions"), topic),
            replicas(check("replicas"), topic, expectations.replicas_min),
        ]);
        let Some(settings) = &topic.settings else {
            let remedy =
                "allow this user to describe the topic's configuration, and run this again";
            findings.push(Finding::advice(
                check("settings"),
                "the broker does not tell them",
                remedy,
            ));
            continue;
        };
        findings.extend([
            min_in_sync(
                check("min.insync.replicas"),
                settings,
                expectations.replicas_min,
            ),
            unclean_election(check("unclean.leader.election.enable"), settings),
            message_bytes(
                check("max.message.bytes"),
                settings,
                config.publisher.message_bytes_max,
            ),
            cleanup(check("cleanup.policy"), settings),
            retention(check("retention.ms"), settings, expectations),
            retention_bytes(check("retention.bytes"), settings),
        ]);
    }
    findings
}

fn brokers(facts: &Facts, replicas_min: u32) -> Finding {
    let found = facts.brokers.to_string();
    if facts.brokers >= count(replicas_min) {
        return Finding::ok("Kafka brokers", found);
    }
    let remedy = format!(
        "run at least {replicas_min}, each on a machine of its own: once a row of the outbox is deleted, Kafka has \
         the only copy of the event (REPLICAS_MIN=1 accepts its loss)"
    );
    Finding::wrong("Kafka brokers", found, remedy)
}

fn version(version: &Version) -> Finding {
    let check = "Kafka version";
    match version {
        Version::Until3(version) if version.starts_with("3.") => Finding::ok(check, version),
        Version::Until3(version) => Finding::advice(
            check,
            version,
            "upgrade to 3.x or 4.x: this system is tested with 4.2 alone",
        ),
        Version::From4 => Finding::ok(check, "4.0 or later"),
        Version::Unknown => Finding::ok(check, "the brokers do not tell this user"),
    }
}

fn security_protocol(facts: &Facts) -> Finding {
    let check = "Kafka TLS";
    let protocol = facts.security_protocol.as_str();
    if protocol.ends_with("ssl") {
        return Finding::ok(check, protocol);
    }
    if facts.is_local {
        return Finding::ok(check, format!("{protocol}, to a broker on this machine"));
    }
    let remedy = "use a private network, or KAFKA_SECURITY_PROTOCOL=SASL_SSL";
    Finding::advice(check, format!("{protocol}: not encrypted"), remedy)
}

fn topic_creation(facts: &Facts) -> Finding {
    let check = "auto.create.topics.enable";
    match facts.creates_topics {
        Some(false) => Finding::ok(check, "false"),
        Some(true) => Finding::advice(
            check,
            "true",
            "set it to false: a client that misspells a topic, or comes early, creates one with the broker's defaults",
        ),
        None => Finding::ok(check, "the broker does not tell"),
    }
}

fn partition_leaders(check: String, topic: &Topic) -> Finding {
    let leaderless = topic
        .partitions
        .iter()
        .filter(|partition| !partition.has_leader)
        .count();
    let found = format!("{}, {leaderless} without a leader", topic.partitions.len());
    if leaderless == 0 {
        return Finding::ok(check, topic.partitions.len().to_string());
    }
    Finding::wrong(
        check,
        found,
        "bring their brokers back: the keys of these partitions wait",
    )
}

fn replicas(check: String, topic: &Topic, replicas_min: u32) -> Finding {
    let replicas = topic
        .partitions
        .iter()
        .map(|partition| partition.replicas)
        .min();
    let in_sync = topic
        .partitions
        .iter()
        .map(|partition| partition.in_sync)
        .min();
    let (replicas, in_sync) = (replicas.unwrap_or_default(), in_sync.unwrap_or_default());
    let found = format!("{replicas}, of which {in_sync} in sync");
    if replicas < count(replicas_min) {
        let remedy = format!(
            "reassign the partitions to {replicas_min} brokers: Kafka has the only copy of a published event"
        );
        Finding::wrong(check, found, remedy)
    } else if in_sync < replicas {
        Finding::advice(check, found, "find out which broker lags or is down")
    } else {
        Finding::ok(check, found)
    }
}

fn min_in_sync(check: String, settings: &Settings, replicas_min: u32) -> Finding {
    let wanted = i64::from(replicas_min).saturating_sub(1).clamp(1, 2);
    let found = settings.min_in_sync.to_string();
    if settings.min_in_sync < wanted {
        let remedy = format!(
            "set it to {wanted}: below, Kafka acknowledges an event that one broken disk loses"
        );
        return Finding::wrong(check, found, remedy);
    }
    if settings.min_in_sync >= i64::from(replicas_min) && replicas_min > 1 {
        let remedy =
            "set it below the number of replicas: a broker that is restarted stops all publishing";
        return Finding::advice(check, found, remedy);
    }
    Finding::ok(check, found)
}

fn unclean_election(check: String, settings: &Settings) -> Finding {
    if settings.elects_unclean {
        let remedy =
            "set it to false: a replica that lacks acknowledged events may become the leader";
        return Finding::wrong(check, "true", remedy);
    }
    Finding::ok(check, "false")
}

fn message_bytes(check: String, settings: &Settings, message_bytes_max: u32) -> Finding {
    let found = format!(
        "{}, MESSAGE_BYTES_MAX is {message_bytes_max}",
        settings.message_bytes_max
    );
    if settings.message_bytes_max >= i64::from(message_bytes_max) {
        return Finding::ok(check, found);
    }
    let remedy = format!(
        "set it to at least {message_bytes_max}, or MESSAGE_BYTES_MAX below it: an event in between is refused, and \
         its key waits"
    );
    Finding::wrong(check, found, remedy)
}

fn cleanup(check: String, settings: &Settings) -> Finding {
    if settings.cleanup_policy == "delete" {
        return Finding::ok(check, "delete");
    }
    let remedy =
        "set it to delete: compaction removes events of a key that a consumer has not read yet";
    Finding::wrong(check, &settings.cleanup_policy, remedy)
}

/// Between the longest stop of a consumer, after which it must still find its events, and the inbox's retention, by
/// which it recognises those that it has taken.
fn retention(check: String, settings: &Settings, expectations: &Expectations) -> Finding {
    let stop_h = i64::from(expectations.consumer_stop_h_max);
    let inbox_h = i64::from(expectations.retention_h);
    let (from, below) = (stop_h * HOUR_MS, inbox_h * HOUR_MS);
    match settings.retention_ms {
        ..0 => Finding::wrong(
            check,
            "for ever",
            format!(
                "set it below {below}, which is RETENTION_H: a replay from the beginning would be taken for new"
            ),
        ),
        ms if ms <= from => Finding::wrong(
            check,
            format!("{} hours", ms / HOUR_MS),
            format!(
                "set it above {from}: a consumer that is stopped for CONSUMER_STOP_H_MAX={stop_h} loses events"
            ),
        ),
        ms if ms >= below => Finding::wrong(
            check,
            format!("{} hours", ms / HOUR_MS),
            format!(
                "set it below {below}, or raise RETENTION_H={inbox_h} of the services: a replay would be taken for new"
            ),
        ),
        ms => Finding::ok(check, format!("{} hours", ms / HOUR_MS)),
    }
}

fn retention_bytes(check: String, settings: &Settings) -> Finding {
    if settings.retention_bytes < 0 {
        return Finding::ok(check, "no limit");
    }
    let remedy = "set it to -1: under load Kafka deletes events before retention.ms, read or not";
    Finding::advice(check, settings.retention_bytes.to_string(), remedy)
}

fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use chassis::config::DatabaseConfig;

    use super::super::finding::Verdict;
    use super::*;

    /// Three brokers, and a topic with what production needs.
    fn good() -> Facts {
        let partition = Partition {
            replicas: 3,
            in_sync: 3,
            has_leader: true,
        };
        Facts {
            security_protocol: "sasl_ssl".to_owned(),
            is_local: false,
            brokers: 3,
            version: Version::From4,
            creates_topics: Some(false),
            topics: vec![Topic {
                name: "t".to_owned(),
                partitions: vec![partition.clone(), partition],
                settings: Some(Settings {
                    min_in_sync: 2,
                    elects_unclean: false,
                    message_bytes_max: 1_048_588,
                    retention_ms: 168 * HOUR_MS,
                    retention_bytes: -1,
                    cleanup_policy: "delete".to_owned(),
                }),
            }],
        }
    }

    fn judged(facts: &Facts, replicas_min: u32) -> Vec<Finding> {
        let database = DatabaseConfig::new("", 1);
        let kafka = KafkaConfig::new(String::new(), String::new());
        let expectations = Expectations {
            topics: Vec::new(),
            replicas_min,
            retention_h: 336,
            consumer_stop_h_max: 72,
            json: false,
        };
        judge(facts, &Config::new(database, kafka), &expectations)
    }

    fn bad(findings: &[Finding]) -> Vec<(&str, Verdict)> {
        let bad = findings
            .iter()
            .filter(|finding| finding.verdict != Verdict::Ok);
        bad.map(|finding| (finding.check.as_str(), finding.verdict))
            .collect()
    }

    /// After `change`, the check `name` and no other is not ok.
    fn only(name: &str, verdict: Verdict, change: impl FnOnce(&mut Facts)) {
        let mut facts = good();
        change(&mut facts);
        assert_eq!(bad(&judged(&facts, 3)), [(name, verdict)]);
    }

    fn only_of_settings(name: &str, verdict: Verdict, change: impl FnOnce(&mut Settings)) {
        only(name, verdict, |facts| {
            change(facts.topics[0].settings.as_mut().unwrap());
        });
    }

    #[test]
    fn brokers_that_are_set_up_have_nothing_to_correct() {
        assert_eq!(bad(&judged(&good(), 3)), []);
    }

    #[test]
    fn each_need_of_the_brokers_is_a_check() {
        use Verdict::{Advice, Wrong};
        only("Kafka brokers", Wrong, |facts| facts.brokers = 2);
        only("Kafka version", Advice, |facts| {
            facts.version = Version::Until3("2.8-IV1".to_owned());
        });
        only("Kafka TLS", Advice, |facts| {
            facts.security_protocol = "plaintext".to_owned();
        });
        only("auto.create.topics.enable", Advice, |facts| {
            facts.creates_topics = Some(true);
        });
        only("topics", Advice, |facts| facts.topics = Vec::new());
    }

    #[test]
    fn each_need_of_a_topic_is_a_check() {
        use Verdict::{Advice, Wrong};
        only("t: partitions", Wrong, |facts| {
            facts.topics[0].partitions = Vec::new();
        });
        only("t: partitions", Wrong, |facts| {
            facts.topics[0].partitions[1].has_leader = false;
        });
        only("t: replicas", Wrong, |facts| {
            facts.topics[0].partitions[1].replicas = 2;
        });
        only("t: replicas", Advice, |facts| {
            facts.topics[0].partitions[1].in_sync = 2;
        });
        only("t: settings", Advice, |facts| {
            facts.topics[0].settings = None;
        });
        only_of_settings("t: min.insync.replicas", Wrong, |it| it.min_in_sync = 1);
        only_of_settings("t: min.insync.replicas", Advice, |it| it.min_in_sync = 3);
        only_of_settings("t: unclean.leader.election.enable", Wrong, |it| {
            it.elects_unclean = true;
        });
        only_of_settings("t: max.message.bytes", Wrong, |it| {
            it.message_bytes_max = 999_999;
        });
        only_of_settings("t: cleanup.policy", Wrong, |it| {
            it.cleanup_policy = "compact".to_owned();
        });
        only_of_settings("t: retention.bytes", Advice, |it| {
            it.retention_bytes = 1_000_000;
        });
    }

    #[test]
    fn kafka_keeps_events_for_longer_than_a_consumer_is_stopped_and_shorter_than_the_inbox_knows_them()
     {
        let retention = |hours: i64| {
            let mut facts = good();
            facts.topics[0].settings.as_mut().unwrap().retention_ms = hours * HOUR_MS;
            let findings = judged(&facts, 3);
            bad(&findings)
                .iter()
                .map(|(_, verdict)| *verdict)
                .collect::<Vec<_>>()
        };
        assert_eq!(retention(72), [Verdict::Wrong]);
        assert_eq!(retention(73), []);
        assert_eq!(retention(335), []);
        assert_eq!(retention(336), [Verdict::Wrong]);
        assert_eq!(retention(-1), [Verdict::Wrong]);
    }

    #[test]
    fn one_broker_is_enough_for_who_accepts_the_loss_of_its_disk() {
        let mut facts = good();
        facts.brokers = 1;
        let topic = &mut facts.topics[0];
        for partition in &mut topic.partitions {
            (partition.replicas, partition.in_sync) = (1, 1);
        }
        topic.settings.as_mut().unwrap().min_in_sync = 1;
        assert_eq!(bad(&judged(&facts, 1)), []);
        assert_eq!(bad(&judged(&facts, 3)).len(), 3);
    }

    #[test]
    fn a_broker_on_this_machine_needs_no_tls() {
        assert!(
            ["127.0.0.1:9092", "localhost:1", "[::1]:9092"]
                .into_iter()
                .all(is_local)
        );
        assert!(!is_local("kafka:9092"));
    }
}
