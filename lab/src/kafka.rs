//! Apache Kafka as a part: one broker, its own controller, from jars that Maven fetches once.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use crate::home::{self, Home};
use crate::log_file::LogFile;
use crate::part::{Part, Ready, Tier, command, run_to_end};
use crate::terminal;

/// The name of the part and of its log.
const NAME: &str = "kafka";

/// Which jars.
const POM: &str = include_str!("../kafka/pom.xml");

/// What the broker logs.
const LOG4J: &str = include_str!("../kafka/log4j2.properties");

/// What Kafka 4 needs.
const JAVA_MAJOR_MIN: u32 = 17;

/// Any constant of 16 bytes in base64: data is made for a cluster, and there is only this one.
const CLUSTER_ID: &str = "d2FsbGV0LWxhYi1rYWZrYQ";

/// Milliseconds after which a broker that was killed counts as gone: only then may it come back. Kafka's default
/// is 9 s; too low, and a broker that is merely slow is taken for gone.
const BROKER_SESSION_TIMEOUT_MS: u32 = 3_000;

/// Where the broker and its controller listen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KafkaPorts {
    /// For clients.
    pub broker: u16,
    /// For itself.
    pub controller: u16,
}

/// Fetches the jars into `jars_home` and makes the data folder in `home`, each if it is missing, and says
/// how to run the broker.
///
/// # Errors
/// There is no Java or, the first time, no Maven or no network.
pub(crate) async fn prepare(
    home: &Home,
    jars_home: &Home,
    ports: KafkaPorts,
) -> anyhow::Result<Part> {
    let java = java().with_context(|| {
        format!("there is no Java {JAVA_MAJOR_MIN} or newer: apt-get install default-jre-headless, or set KAFKA_BROKERS")
    })?;
    let jars = jars(jars_home).await?;
    let folder = home.kafka();
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let settings = folder.join("server.properties");
    home::write_atomically(&settings, &properties(&folder, ports))?;
    let log4j = folder.join("log4j2.properties");
    home::write_atomically(&log4j, LOG4J)?;
    // Libraries that the JVM unpacks, and leaves behind when it is killed.
    let unpacked = folder.join("tmp");
    home::remove(&unpacked)?;
    std::fs::create_dir(&unpacked).with_context(|| format!("making {}", unpacked.display()))?;
    let arguments = |main: &str| {
        vec![
            "-Xmx512m".to_owned(),
            format!("-Djava.io.tmpdir={}", unpacked.display()),
            "-XX:-UsePerfData".to_owned(),
            "-XX:+ExitOnOutOfMemoryError".to_owned(),
            format!("-Dlog4j2.configurationFile={}", log4j.display()),
            "-cp".to_owned(),
            format!("{}/*", jars.display()),
            main.to_owned(),
        ]
    };
    format(home, &java, arguments("kafka.tools.StorageTool")).await?;
    let mut args = arguments("kafka.Kafka");
    args.push(settings.display().to_string());
    let address = format!("127.0.0.1:{}", ports.broker);
    Ok(Part {
        name: NAME.to_owned(),
        tier: Tier::Broker,
        address: address.clone(),
        program: java,
        args,
        env: Vec::new(),
        user: None,
        ready: Ready::Kafka(address),
        ready_within: Duration::from_secs(90),
    })
}

/// The `java` to run Kafka with, if there is one: the one on the path, or Debian's newest.
pub(crate) fn java() -> Option<PathBuf> {
    let debian = std::fs::read_dir("/usr/lib/jvm").into_iter().flatten();
    let mut debian: Vec<PathBuf> = debian
        .filter_map(|entry| Some(entry.ok()?.path().join("bin/java")))
        .collect();
    debian.sort();
    let mut candidates = std::iter::once(PathBuf::from("java")).chain(debian.into_iter().rev());
    candidates.find(|java| {
        let answer = Command::new(java).arg("-version").output();
        let text = answer.map(|answer| answer.stderr).unwrap_or_default();
        java_major(&String::from_utf8_lossy(&text)).is_some_and(|major| major >= JAVA_MAJOR_MIN)
    })
}

/// The version of the broker that is started.
pub(crate) fn version() -> Option<&'static str> {
    let (_, broker) = POM.split_once("<artifactId>kafka_")?;
    let (_, version) = broker.split_once("<version>")?;
    version.split('<').next()
}

/// Reads `openjdk version "17.0.15" 2025-04-15` (before Java 9: `"1.8.0_392"`).
fn java_major(text: &str) -> Option<u32> {
    let (_, version) = text.split_once(" version \"")?;
    version.split(['.', '-', '_', '"']).next()?.parse().ok()
}

/// The folder with the jars, complete: the copy of the list is put into it last.
async fn jars(home: &Home) -> anyhow::Result<PathBuf> {
    let folder = home.kafka().join("libs");
    if std::fs::read_to_string(folder.join("pom.xml")).is_ok_and(|pom| pom == POM) {
        return Ok(folder);
    }
    terminal::part(
        NAME,
        "fetching its jars from Maven, about 45 MB, this time only",
    );
    home::remove(&folder)?;
    let work = home.kafka().join("maven");
    std::fs::create_dir_all(&work).with_context(|| format!("making {}", work.display()))?;
    std::fs::write(work.join("pom.xml"), POM).context("writing pom.xml")?;
    let mut maven = command("mvn", None);
    maven
        .current_dir(&work)
        .args(["--batch-mode", "--quiet", "dependency:copy-dependencies"])
        .arg(format!("-DoutputDirectory={}", folder.display()));
    run_to_end("Maven", maven, &LogFile::new(home.log("kafka-maven")))
        .await
        .context("fetching Kafka's jars (BROKER=embedded does without them)")?;
    std::fs::write(folder.join("pom.xml"), POM).context("noting that the jars are complete")?;
    Ok(folder)
}

/// Makes the data folder, once; one that was left half made is made anew.
async fn format(home: &Home, java: &Path, mut args: Vec<String>) -> anyhow::Result<()> {
    let folder = home.kafka();
    let done = folder.join("formatted");
    if done.exists() {
        return Ok(());
    }
    home::remove(&folder.join("data"))?;
    args.extend(["format", "--cluster-id", CLUSTER_ID, "--config"].map(str::to_owned));
    args.push(folder.join("server.properties").display().to_string());
    let mut tool = command(java, None);
    tool.args(args);
    run_to_end(
        "Kafka's format",
        tool,
        &LogFile::new(home.log("kafka-format")),
    )
    .await?;
    std::fs::write(&done, "").context("noting that Kafka's data folder is made")
}

fn properties(folder: &Path, ports: KafkaPorts) -> String {
    let KafkaPorts { broker, controller } = ports;
    let data = folder.join("data");
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         controller.listener.names=CONTROLLER\n\
         listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{broker}\n\
         log.dirs={}\n\
         broker.session.timeout.ms={BROKER_SESSION_TIMEOUT_MS}\n\
         broker.heartbeat.interval.ms=500\n\
         auto.create.topics.enable=false\n\
         default.replication.factor=1\n\
         offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=4\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         transaction.state.log.num.partitions=4\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n\
         share.coordinator.state.topic.num.partitions=1\n\
         group.initial.rebalance.delay.ms=0\n\
         log.index.size.max.bytes=1048576\n",
        data.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_java_is_read() {
        assert_eq!(
            java_major("openjdk version \"17.0.15\" 2025-04-15\nOpenJDK"),
            Some(17)
        );
        assert_eq!(java_major("openjdk version \"21\" 2023-09-19"), Some(21));
        assert_eq!(java_major("openjdk version \"26-ea\" 2026-03-17"), Some(26));
        assert_eq!(java_major("java version \"1.8.0_392\""), Some(1));
        assert_eq!(
            java_major("Picked up JAVA_TOOL_OPTIONS: \"\"\nopenjdk version \"17\""),
            Some(17)
        );
        assert_eq!(java_major("no such file"), None);
    }
}
