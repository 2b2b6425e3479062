//! Kafka Connect with Debezium as a part: one worker, for relay mode `debezium`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;

use crate::home::{self, Home};
use crate::jvm::{self, Jars};
use crate::ports::base_url;
use crate::process_spec::{ProcessSpec, Ready};
use crate::shutdown_order::ShutdownOrder;

pub const NAME: &str = "connect";

const JARS: Jars = Jars {
    name: NAME,
    pom: include_str!("../connect/pom.xml"),
    goals: &["dependency:copy-dependencies", "dependency:unpack"],
    size: "its jars and Debezium, about 42 MB,",
};

/// Milliseconds between two commits of what Kafka has acknowledged: an event stays in the outbox for that long
/// after it was published. Connect's default is a minute.
const OFFSET_FLUSH_EVERY_MS: u32 = 500;

/// Milliseconds after which a worker that was killed counts as gone: only then does the next one begin. The least
/// that a broker allows by default; Connect's default is 10 s.
const WORKER_SESSION_TIMEOUT_MS: u32 = 6_000;

/// Whether a worker of this home may have connectors: they come back with the next worker.
pub fn has_connectors(home: &Home) -> bool {
    note(home).exists()
}

/// Notes that all are deleted.
pub fn has_no_connectors(home: &Home) -> anyhow::Result<()> {
    home::remove(&note(home))
}

fn note(home: &Home) -> PathBuf {
    home.root().join(NAME).join("has-connectors")
}

/// Notes that a worker of this home may have connectors from now on.
pub fn may_have_connectors(home: &Home) -> anyhow::Result<()> {
    home::write_atomically(&note(home), "")
}

/// Saves the password of a relay's role for the workers of this home: in a connector's configuration everybody who
/// reaches Kafka Connect could read it.
pub fn save_password(home: &Home, role: &str, password: &str) -> anyhow::Result<()> {
    let folder = passwords(home);
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    home::write_atomically(&folder.join(role), password)
}

/// What a connector's configuration has instead of that password.
pub fn password_reference(home: &Home, role: &str) -> String {
    format!("${{directory:{}:{role}}}", passwords(home).display())
}

fn passwords(home: &Home) -> PathBuf {
    home.root().join(NAME).join("passwords")
}

/// Fetches the jars into `jars_home` if they are missing, and says how to run the worker, with its settings in
/// `home`. Workers of another `group` have other connectors.
pub async fn part(
    home: &Home,
    jars_home: &Home,
    port: u16,
    kafka_brokers: &str,
    group: &str,
) -> anyhow::Result<ProcessSpec> {
    let java = jvm::java().context("for Kafka Connect (or set CONNECT_URL)")?;
    let fetched = JARS.fetch(jars_home).await?;
    let folder = home.root().join(NAME);
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let settings = folder.join("connect.properties");
    let plugins = fetched.join("plugins").display().to_string();
    home::write_atomically(&settings, &properties(port, kafka_brokers, group, &plugins))?;
    let main = "org.apache.kafka.connect.cli.ConnectDistributed";
    let mut args = jvm::arguments(&folder, &fetched, "1g", main)?;
    args.push(settings.display().to_string());
    let address = base_url(port);
    Ok(ProcessSpec {
        name: NAME.to_owned(),
        shutdown_order: ShutdownOrder::Connect,
        program: java,
        args,
        env: Vec::new(),
        user: None,
        ready: Ready::Http(format!("{address}/connectors")),
        address,
        ready_within: Duration::from_secs(120),
    })
}

fn properties(port: u16, kafka_brokers: &str, group: &str, plugins: &str) -> String {
    format!(
        "bootstrap.servers={kafka_brokers}\n\
         listeners=http://127.0.0.1:{port}\n\
         rest.advertised.host.name=127.0.0.1\n\
         group.id={group}\n\
         session.timeout.ms={WORKER_SESSION_TIMEOUT_MS}\n\
         heartbeat.interval.ms=2000\n\
         scheduled.rebalance.max.delay.ms=0\n\
         config.storage.topic={group}.configs\n\
         config.storage.replication.factor=-1\n\
         offset.storage.topic={group}.offsets\n\
         offset.storage.replication.factor=-1\n\
         offset.storage.partitions=1\n\
         offset.flush.interval.ms={OFFSET_FLUSH_EVERY_MS}\n\
         status.storage.topic={group}.status\n\
         status.storage.replication.factor=-1\n\
         status.storage.partitions=1\n\
         topic.creation.enable=false\n\
         config.providers=directory\n\
         config.providers.directory.class=org.apache.kafka.common.config.provider.DirectoryConfigProvider\n\
         key.converter=org.apache.kafka.connect.storage.StringConverter\n\
         value.converter=org.apache.kafka.connect.storage.StringConverter\n\
         plugin.path={plugins}\n"
    )
}
