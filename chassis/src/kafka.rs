//! What all Kafka clients of the system agree on.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, ClientContext};
use tracing::{debug, info, warn};

use crate::repeated::RepeatedError;

mod oauth;
pub mod producer;
mod settings;

pub use self::oauth::token;
pub use self::settings::{Brokers, SettingError, Settings};

/// The settings of every client, whatever it does. One that adds its own ends with [`Brokers::override_in`].
#[must_use]
pub fn client(brokers: impl Into<Brokers>, client_id: &str) -> ClientConfig {
    let brokers = brokers.into();
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers.servers())
        .set("client.id", client_id)
        // An outage is noticed quickly, and so is its end; librdkafka's default waits up to 10 s.
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("socket.keepalive.enable", "true")
        // A topic or a partition that is new is noticed in seconds; librdkafka's default is five minutes.
        .set("topic.metadata.refresh.interval.ms", "5000");
    brokers.override_in(&mut config);
    config
}

/// What a client logs: librdkafka reports the same outage at every try, some seventy times a second.
#[derive(Debug, Clone)]
pub struct LogContext {
    errors: Arc<RepeatedError>,
}

impl LogContext {
    /// Of a client for `activity`, such as "publishing commands".
    #[must_use]
    pub fn of(activity: &'static str) -> Self {
        Self {
            errors: Arc::new(RepeatedError::of(activity)),
        }
    }

    /// The run of errors that the client reports. Who sees the client succeed ends it.
    #[must_use]
    pub fn errors(&self) -> &RepeatedError {
        &self.errors
    }
}

impl ClientContext for LogContext {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, file: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        token(file)
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error => self.errors.failed(format_args!("{facility} {text}")),
            RDKafkaLogLevel::Warning => warn!("librdkafka: {facility} {text}"),
            RDKafkaLogLevel::Notice => info!("librdkafka: {facility} {text}"),
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                debug!("librdkafka: {facility} {text}");
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // Not an error: a partition was read to its end.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            return;
        }
        self.errors.failed(format_args!("{error}: {reason}"));
    }
}

impl ConsumerContext for LogContext {}

/// Asks the brokers whether they are there. Made once, asked by `/readyz`.
#[derive(Clone)]
pub struct Probe {
    client: Arc<BaseConsumer<LogContext>>,
}

impl Probe {
    /// Connects in the background.
    ///
    /// # Errors
    /// The settings do not make a client.
    pub fn new(brokers: impl Into<Brokers>, client_id: &str) -> anyhow::Result<Self> {
        let client = client(brokers, client_id)
            .create_with_context(LogContext::of("asking whether Kafka is there"))
            .context("making a Kafka client")?;
        Ok(Self {
            client: Arc::new(client),
        })
    }

    /// Succeeds when a broker responds.
    ///
    /// # Errors
    /// None does within a second and a half.
    pub async fn check(self) -> anyhow::Result<()> {
        tokio::task::spawn_blocking(move || {
            let asked = self
                .client
                // A topic that does not exist is a valid answer; all topics would be a long one.
                .fetch_metadata(Some("__consumer_offsets"), Duration::from_millis(1_500));
            let Err(error) = asked else {
                self.client.context().errors().succeeded();
                return Ok(());
            };
            match self.refusal() {
                Some(code) => {
                    anyhow::bail!("no Kafka broker lets this client in ({code}): the log says more")
                }
                None => Err(error).context("no Kafka broker answers"),
            }
        })
        .await?
    }

    /// Hears what the client has to tell, which nobody else asks it for: it logs why no broker is reached, and gets a
    /// token if it needs one. Returns the error of a login or of TLS, if there was one.
    fn refusal(&self) -> Option<RDKafkaErrorCode> {
        let mut refusal = None;
        while let Some(told) = self.client.poll(Duration::from_millis(10)) {
            let code = told.err().and_then(|error| error.rdkafka_error_code());
            if let Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL) = code {
                refusal = code;
            }
        }
        refusal
    }
}

/// Creates the topics that do not exist yet.
///
/// # Errors
/// The brokers can't be reached or refuse.
pub async fn create_topics(
    brokers: impl Into<Brokers>,
    topics: &[&str],
    partitions: i32,
    replication: i32,
) -> anyhow::Result<()> {
    let admin: AdminClient<LogContext> = client(brokers, "topic-creation")
        .create_with_context(LogContext::of("creating topics"))
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
