//! Apache Kafka as a process: one broker, its own controller, from jars that Maven fetches once.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use crate::home::{self, Home};
use crate::jvm::{self, Jars};
use crate::process_spec::{ProcessSpec, Ready};
use crate::program::LogFile;
use crate::program::{command, run_to_end};
use crate::shutdown_order::ShutdownOrder;
use crate::sources::KafkaPorts;

const NAME: &str = "kafka";

const JARS: Jars = Jars {
    name: NAME,
    pom: include_str!("../kafka/pom.xml"),
    goals: &["dependency:copy-dependencies"],
    size: "its jars, about 45 MB,",
};

/// Any constant of 16 bytes in base64: data is made for a cluster, and there is only this one.
const CLUSTER_ID: &str = "d2FsbGV0LWxhYi1rYWZrYQ";

/// Any constant of 16 bytes, too.
const DIRECTORY_ID: &str = "d2FsbGV0LWxhYi1kYXRhIQ";

/// Milliseconds after which a broker that was killed counts as gone: only then may it come back. Kafka's default
/// is 9 s; too low, and a broker that is merely slow is taken for gone.
const BROKER_SESSION_TIMEOUT_MS: u32 = 3_000;

/// Fetches the jars into `jars_home` and makes the data folder in `home`, each if it is missing, and says
/// how to run the broker.
pub async fn prepare(
    home: &Home,
    jars_home: &Home,
    ports: KafkaPorts,
) -> anyhow::Result<ProcessSpec> {
    let java = jvm::java().context("for Kafka (or set KAFKA_BROKERS)")?;
    let fetched = JARS
        .fetch(jars_home)
        .await
        .context("BROKER=embedded does without them")?;
    let folder = home.kafka();
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let settings = folder.join("server.properties");
    home::write_atomically(&settings, &properties(&home.kafka_data(), ports))?;
    let arguments = |main: &str| jvm::arguments(&folder, &fetched, "512m", main);
    let format_args = arguments("kafka.tools.StorageTool")?;
    format(home, &java, format_args, ports).await?;
    let mut args = arguments("kafka.Kafka")?;
    args.push(settings.display().to_string());
    let address = format!("127.0.0.1:{}", ports.broker);
    Ok(ProcessSpec {
        name: NAME.to_owned(),
        shutdown_order: ShutdownOrder::Broker,
        address: address.clone(),
        program: java,
        args,
        env: Vec::new(),
        user: None,
        ready: Ready::Kafka(address),
        ready_within: Duration::from_secs(90),
    })
}

/// The version of the broker that is started.
pub fn version() -> Option<&'static str> {
    let (_, broker) = JARS.pom.split_once("<artifactId>kafka_")?;
    let (_, version) = broker.split_once("<version>")?;
    version.split('<').next()
}

/// The folder of the broker's own topic, without which it finds no other.
const METADATA: &str = "__cluster_metadata-0";

/// Whether there are topics.
pub(crate) fn has_data(home: &Home) -> bool {
    any_topic(&home.kafka_data()).is_some()
}

/// Makes the data folder, or those of its files that are missing and hold nobody's data.
async fn format(
    home: &Home,
    java: &Path,
    mut args: Vec<String>,
    ports: KafkaPorts,
) -> anyhow::Result<()> {
    let data = home.kafka_data();
    let create = std::fs::create_dir_all(&data);
    create.with_context(|| format!("making {}", data.display()))?;
    if let Some(topic) = any_topic(&data)
        && !data.join(METADATA).exists()
    {
        anyhow::bail!(
            "Kafka's data in {} is damaged: it has {topic}, and {METADATA} is missing, without which Kafka finds no \
             topic. Put {METADATA} back. Or give the topics up: remove the folder, and the next start makes an \
             empty one and says what is lost",
            data.display()
        );
    }
    let bootstrap = data.join("bootstrap.checkpoint");
    if !bootstrap.exists() {
        // Made beside its place, so that an incomplete one is never found.
        let new = home.kafka().join("data.new");
        home::remove(&new)?;
        let settings = home.kafka().join("format.properties");
        home::write_atomically(&settings, &properties(&new, ports))?;
        args.extend(["format", "--cluster-id", CLUSTER_ID, "--config"].map(str::to_owned));
        args.push(settings.display().to_string());
        let mut tool = command(java, None);
        tool.args(args);
        let log = LogFile::new(home.log("kafka-format"));
        run_to_end("Kafka's format", tool, &log).await?;
        std::fs::rename(new.join("bootstrap.checkpoint"), &bootstrap)
            .with_context(|| format!("putting {} in its place", bootstrap.display()))?;
        home::remove(&new)?;
        home::remove(&settings)?;
    }
    let meta = data.join("meta.properties");
    if meta.exists() {
        return Ok(());
    }
    // Not that of the format, whose directory.id is random: topics are known only under the directory.id of their folder.
    let ids =
        format!("cluster.id={CLUSTER_ID}\ndirectory.id={DIRECTORY_ID}\nnode.id=1\nversion=1\n");
    home::write_atomically(&meta, &ids)
}

/// The name of a folder in Kafka's data folder, each of which is a partition of a topic.
fn any_topic(data: &Path) -> Option<String> {
    let entries = std::fs::read_dir(data).into_iter().flatten().flatten();
    let mut folders = entries.filter(|entry| entry.path().is_dir());
    Some(folders.next()?.file_name().to_string_lossy().into_owned())
}

fn properties(data: &Path, ports: KafkaPorts) -> String {
    let KafkaPorts { broker, controller } = ports;
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
