//! librdkafka's mock cluster as the broker, inside this process: for a machine without Java.
//!
//! It can't do what the real one does: it keeps messages and offsets in memory only, 5 MiB a partition,
//! and ends with this process; its first rebalance takes some seconds.

use anyhow::Context as _;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, Producer as _};

pub(crate) const WARNING: &str = "embedded broker: librdkafka's mock cluster, in this process. It keeps nothing: \
    messages and offsets are gone when the lab stops, a partition holds 5 MiB, and it can't be stopped by itself";

/// The broker; it lives as long as this.
pub(crate) struct EmbeddedBroker {
    // The client that owns the cluster; a `MockCluster` of its own could not be sent between threads.
    owner: BaseProducer,
}

impl EmbeddedBroker {
    /// Starts it, on a port of its own choice.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let owner = ClientConfig::new()
            .set("test.mock.num.brokers", "1")
            .create()
            .context("starting the embedded broker")?;
        Ok(Self { owner })
    }

    pub(crate) fn brokers(&self) -> anyhow::Result<String> {
        let cluster = self
            .owner
            .client()
            .mock_cluster()
            .context("the embedded broker is gone")?;
        Ok(cluster.bootstrap_servers())
    }

    /// Creates the topics: the admin protocol is one of the things it can't do.
    pub(crate) fn create_topics(&self, topics: &[&str], partitions: i32) -> anyhow::Result<()> {
        let cluster = self
            .owner
            .client()
            .mock_cluster()
            .context("the embedded broker is gone")?;
        for topic in topics {
            cluster
                .create_topic(topic, partitions, 1)
                .with_context(|| format!("creating the topic {topic}"))?;
        }
        Ok(())
    }
}
