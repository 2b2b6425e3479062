//! A Kafka of three brokers for one test, which may kill and restart them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use chassis::kafka;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::metadata::{MetadataPartition, MetadataTopic};
use uuid::Uuid;

use crate::{eventually, free_address};

const BROKERS: usize = 3;

/// Any constant of 16 bytes in base64: data is made for a cluster, and a folder has only one.
const CLUSTER_ID: &str = "d2FsbGV0LXdhbGxldC10ZXN0";

/// Settings of every broker. A topic has three replicas, and two must have a record before it is acknowledged.
const SETTINGS: &str = "process.roles=broker,controller\n\
     controller.listener.names=CONTROLLER\n\
     broker.session.timeout.ms=3000\n\
     broker.heartbeat.interval.ms=500\n\
     auto.create.topics.enable=false\n\
     default.replication.factor=3\n\
     min.insync.replicas=2\n\
     offsets.topic.replication.factor=3\n\
     offsets.topic.num.partitions=4\n\
     transaction.state.log.replication.factor=3\n\
     transaction.state.log.num.partitions=4\n\
     group.initial.rebalance.delay.ms=0\n\
     log.index.size.max.bytes=1048576\n";

/// Three brokers, each a controller, too; a drop kills them and removes their data.
#[derive(Debug)]
pub struct KafkaCluster {
    folder: PathBuf,
    brokers: Vec<Broker>,
}

#[derive(Debug)]
struct Broker {
    address: String,
    running: Option<Child>,
}

impl KafkaCluster {
    /// Starts the brokers, and waits until each knows the others.
    pub async fn start() -> Self {
        let name = format!("testkit-kafka-{}", Uuid::now_v7().simple());
        let folder = std::env::temp_dir().join(name);
        let addresses: [String; BROKERS] = std::array::from_fn(|_| free_address());
        let controllers: [String; BROKERS] = std::array::from_fn(|_| free_address());
        let voters: Vec<String> = (1..)
            .zip(&controllers)
            .map(|(id, address)| format!("{id}@{address}"))
            .collect();
        let mut cluster = Self {
            folder,
            brokers: Vec::new(),
        };
        for (id, (address, controller)) in (1..).zip(addresses.into_iter().zip(&controllers)) {
            let home = cluster.folder.join(id.to_string());
            std::fs::create_dir_all(&home).expect("the temporary folder can be written");
            let properties = format!(
                "{SETTINGS}node.id={id}\n\
                 controller.quorum.voters={}\n\
                 listeners=PLAINTEXT://{address},CONTROLLER://{controller}\n\
                 advertised.listeners=PLAINTEXT://{address}\n\
                 log.dirs={}\n",
                voters.join(","),
                home.join("data").display(),
            );
            std::fs::write(home.join("server.properties"), properties)
                .expect("the settings can be written");
            cluster.brokers.push(Broker {
                address,
                running: None,
            });
        }
        // All at once: most of a JVM's start is waiting for the machine.
        let format = ["format", "--cluster-id", CLUSTER_ID, "--config"];
        let formatting: Vec<Child> = (1..=BROKERS)
            .map(|id| cluster.java(id, "kafka.tools.StorageTool", &format))
            .collect();
        for mut format in formatting {
            let exit = format.wait().expect("the format can be waited for");
            assert!(exit.success(), "{exit}");
        }
        for id in 1..=BROKERS {
            cluster.run(id);
        }
        eventually("three brokers answer", async || {
            let found = cluster.metadata("__consumer_offsets")?.brokers;
            if found == BROKERS {
                Ok(())
            } else {
                Err(format!("{found} do"))
            }
        })
        .await;
        cluster
    }

    /// Bootstrap servers.
    #[must_use]
    pub fn brokers(&self) -> String {
        let addresses: Vec<&str> = self
            .brokers
            .iter()
            .map(|broker| broker.address.as_str())
            .collect();
        addresses.join(",")
    }

    /// The number of the broker that leads the first partition of `topic`.
    pub async fn leader(&self, topic: &str) -> usize {
        eventually("the topic has a leader", async || {
            let leader = self.metadata(topic)?.leader;
            usize::try_from(leader).map_err(|_| leader.to_string())
        })
        .await
    }

    /// Kills a broker with SIGKILL.
    pub fn kill_9(&mut self, id: usize) {
        let mut running = self.take(id);
        running.kill().expect("the broker was running");
        running.wait().expect("the broker is reaped");
    }

    /// Has a broker hand over its partitions and end, and waits for that.
    pub async fn stop(&mut self, id: usize) {
        let mut running = self.take(id);
        let pid = i32::try_from(running.id()).expect("a process id fits");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("the broker is running");
        eventually("the broker ends", async || {
            match running.try_wait().expect("the broker can be waited for") {
                Some(_) => Ok(()),
                None => Err("it runs".to_owned()),
            }
        })
        .await;
    }

    /// Starts a broker again; does not wait.
    pub fn run(&mut self, id: usize) {
        let child = self.java(id, "kafka.Kafka", &[]);
        let broker = self.brokers.get_mut(id - 1);
        broker.expect("there is such a broker").running = Some(child);
    }

    /// Waits until each partition of `topic` has all its replicas in sync.
    pub async fn is_in_sync(&self, topic: &str) {
        eventually(&format!("{topic} is in sync"), async || {
            let in_sync = self.metadata(topic)?.in_sync;
            if in_sync == BROKERS {
                Ok(())
            } else {
                Err(format!("{in_sync} replicas are"))
            }
        })
        .await;
    }

    fn take(&mut self, id: usize) -> Child {
        let broker = self.brokers.get_mut(id - 1);
        let running = broker.and_then(|broker| broker.running.take());
        running.expect("the broker runs")
    }

    fn metadata(&self, topic: &str) -> Result<Metadata, String> {
        let consumer: BaseConsumer = kafka::client(self.brokers(), "testkit")
            .create()
            .expect("a consumer is made");
        let metadata = consumer
            .fetch_metadata(Some(topic), Duration::from_secs(5))
            .map_err(|error| error.to_string())?;
        let partitions = metadata
            .topics()
            .first()
            .map_or(&[][..], MetadataTopic::partitions);
        Ok(Metadata {
            brokers: metadata.brokers().len(),
            leader: partitions.first().map_or(-1, MetadataPartition::leader),
            in_sync: partitions
                .iter()
                .map(|it| it.isr().len())
                .min()
                .unwrap_or(0),
        })
    }

    /// Starts a program of Kafka with the settings of a broker as its last argument.
    fn java(&self, id: usize, main: &str, arguments: &[&str]) -> Child {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let home = self.folder.join(id.to_string());
        let log = File::options()
            .append(true)
            .create(true)
            .open(home.join("log"))
            .expect("the log can be written");
        let log4j = workspace.join("lab/stack/log4j2.properties");
        Command::new("java")
            .arg("-Xmx384m")
            .arg(format!("-Dlog4j2.configurationFile={}", log4j.display()))
            .arg("-cp")
            .arg(workspace.join(".dev/kafka/fetched/libs/*"))
            .arg(main)
            .args(arguments)
            .arg(home.join("server.properties"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log is open"))
            .stderr(log)
            .spawn()
            .expect("Java is installed")
    }
}

struct Metadata {
    brokers: usize,
    leader: i32,
    /// Of the partition that has the fewest.
    in_sync: usize,
}

impl Drop for KafkaCluster {
    fn drop(&mut self) {
        for broker in &mut self.brokers {
            if let Some(mut running) = broker.running.take() {
                drop(running.kill());
                drop(running.wait());
            }
        }
        drop(std::fs::remove_dir_all(&self.folder));
    }
}
