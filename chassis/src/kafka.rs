//! What all Kafka clients of the system agree on.

use std::time::Duration;

use anyhow::Context as _;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::types::RDKafkaErrorCode;

/// The settings of every client, whatever it does.
#[must_use]
pub fn client(brokers: &str, client_id: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("client.id", client_id)
        // An outage is noticed and left behind quickly; librdkafka's default waits up to 10 s.
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("socket.keepalive.enable", "true");
    config
}

/// Asks the brokers whether they are there. Made once, asked by `/readyz`.
#[derive(Clone)]
pub struct Probe {
    client: std::sync::Arc<BaseConsumer>,
}

impl Probe {
    /// Connects in the background.
    ///
    /// # Errors
    /// The settings do not make a client.
    pub fn new(brokers: &str, client_id: &str) -> anyhow::Result<Self> {
        let client = client(brokers, client_id)
            .create::<BaseConsumer>()
            .context("making a Kafka client")?;
        Ok(Self {
            client: std::sync::Arc::new(client),
        })
    }

    /// Succeeds when a broker answers.
    ///
    /// # Errors
    /// None does within a second and a half.
    pub async fn check(self) -> anyhow::Result<()> {
        tokio::task::spawn_blocking(move || {
            self.client
                // A topic that does not exist is a valid answer; all topics would be a long one.
                .fetch_metadata(Some("__consumer_offsets"), Duration::from_millis(1_500))
                .map(|_| ())
                .context("no Kafka broker answers")
        })
        .await?
    }
}

/// Creates the topics that do not exist yet.
///
/// # Errors
/// The brokers can't be reached or refuse.
pub async fn create_topics(
    brokers: &str,
    topics: &[&str],
    partitions: i32,
    replication: i32,
) -> anyhow::Result<()> {
    let admin: AdminClient<DefaultClientContext> = client(brokers, "topic-creation")
        .create()
        .context("making a Kafka admin client")?;
    let wanted: Vec<NewTopic<'_>> = topics
        .iter()
        .map(|topic| NewTopic::new(topic, partitions, TopicReplication::Fixed(replication)))
        .collect();
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(15)));
    let results = admin
        .create_topics(&wanted, &options)
        .await
        .context("creating topics")?;
    for result in results {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => anyhow::bail!("creating the topic {topic}: {code}"),
        }
    }
    Ok(())
}
