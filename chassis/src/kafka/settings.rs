//! Where Kafka is, and any setting of librdkafka by environment: `KAFKA_SASL_MECHANISM` is its `sasl.mechanism`.
//!
//! Promises: a setting on which a promise of this system depends is refused, with the reason; one that librdkafka does not
//! know is refused too; no value is shown. Any of them may stand in a file: `KAFKA_SASL_PASSWORD_FILE`.

use std::fmt;
use std::path::Path;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use secrecy::{ExposeSecret as _, SecretString};

const PREFIX: &str = "KAFKA_";

/// What begins so is of another kind.
const NOT_SETTINGS: [&str; 11] = [
    // Settings of this system's own.
    "KAFKA_BROKERS",
    "KAFKA_AWAY_MS_MAX",
    "KAFKA_CONTROLLER_PORT",
    // Kubernetes gives these to every pod if there is a service `kafka`.
    "KAFKA_SERVICE_",
    "KAFKA_PORT",
    // Kafka's own scripts.
    "KAFKA_HOME",
    "KAFKA_OPTS",
    "KAFKA_HEAP_OPTS",
    "KAFKA_JMX_",
    "KAFKA_JVM_",
    "KAFKA_LOG4J_",
];

/// Environment variables that begin with `KAFKA_`.
#[derive(Debug, Clone, Default)]
pub struct Settings(Vec<(String, SecretString)>);

impl Settings {
    /// Those of the process.
    #[must_use]
    pub fn from_environment() -> Self {
        let texts = std::env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            Some((name, value.into_string().ok()?))
        });
        Self::from_variables(texts)
    }

    /// Those of `variables` that are settings.
    pub fn from_variables(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let settings = variables.into_iter().filter(|(name, _)| {
            let is_setting = name.starts_with(PREFIX);
            is_setting && !NOT_SETTINGS.iter().any(|other| name.starts_with(other))
        });
        Self(settings.map(|(name, value)| (name, value.into())).collect())
    }
}

/// A setting that can't be obeyed.
#[expect(missing_docs, reason = "the messages say it")]
#[derive(Debug, thiserror::Error)]
pub enum SettingError {
    #[error("{name} can't be set: {reason}")]
    Guarded { name: String, reason: &'static str },
    #[error("{name}: librdkafka has no setting {property}")]
    Unknown { name: String, property: String },
    #[error("{name} is not a value of librdkafka's {property}")]
    Value { name: String, property: String },
    #[error("{name} names the file {file}")]
    File {
        name: String,
        file: String,
        source: std::io::Error,
    },
}

/// Bootstrap servers, and the settings of every client of theirs.
#[derive(Debug, Clone)]
pub struct Brokers {
    servers: String,
    /// librdkafka's names.
    properties: Vec<(String, SecretString)>,
}

impl Brokers {
    /// The brokers at `servers`, with what `settings` say.
    ///
    /// # Errors
    /// A setting is guarded, unknown or wrong, or its file can't be read.
    pub fn new(servers: &str, settings: &Settings) -> Result<Self, SettingError> {
        let properties = settings.0.iter();
        let properties = properties.map(|(name, value)| property(name, value));
        Ok(Self {
            servers: servers.to_owned(),
            properties: properties.collect::<Result<_, _>>()?,
        })
    }

    /// The brokers at `servers`, with the settings in the environment of the process.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_environment(servers: &str) -> Result<Self, SettingError> {
        Self::new(servers, &Settings::from_environment())
    }

    /// host:port, separated by commas.
    #[must_use]
    pub fn servers(&self) -> &str {
        &self.servers
    }

    /// Puts what the environment says in the place of a client's own settings.
    pub fn override_in(&self, config: &mut ClientConfig) {
        for (name, value) in &self.properties {
            config.set(name, value.expose_secret());
        }
    }
}

impl fmt::Display for Brokers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.servers)
    }
}

impl From<&str> for Brokers {
    /// Without further settings.
    fn from(servers: &str) -> Self {
        Self {
            servers: servers.to_owned(),
            properties: Vec::new(),
        }
    }
}

impl From<&String> for Brokers {
    fn from(servers: &String) -> Self {
        servers.as_str().into()
    }
}

impl From<String> for Brokers {
    fn from(servers: String) -> Self {
        servers.as_str().into()
    }
}

impl From<&Self> for Brokers {
    fn from(brokers: &Self) -> Self {
        brokers.clone()
    }
}

/// librdkafka's name, and the value, which a file may hold.
fn property(variable: &str, value: &SecretString) -> Result<(String, SecretString), SettingError> {
    let name = || variable.to_owned();
    let (setting, value) = match variable.strip_suffix("_FILE") {
        Some(setting) => {
            let file = value.expose_secret();
            let text = crate::secret_file::read(Path::new(file));
            let text = text.map_err(|source| SettingError::File {
                name: name(),
                file: file.to_owned(),
                source,
            })?;
            (setting, text)
        }
        None => (variable, value.clone()),
    };
    let property = setting.strip_prefix(PREFIX).unwrap_or(setting);
    let property = property.to_lowercase().replace('_', ".");
    if let Some(reason) = guarded(&property) {
        return Err(SettingError::Guarded {
            name: name(),
            reason,
        });
    }
    let mut alone = ClientConfig::new();
    alone.set(&property, value.expose_secret());
    // librdkafka's own text repeats the value.
    match alone.create_native_config() {
        Ok(_) => Ok((property, value)),
        Err(KafkaError::ClientConfig(_, text, ..)) if text.starts_with("No such") => {
            Err(SettingError::Unknown {
                name: name(),
                property,
            })
        }
        Err(_) => Err(SettingError::Value {
            name: name(),
            property,
        }),
    }
}

/// Why a setting is not the operator's to change.
fn guarded(property: &str) -> Option<&'static str> {
    let reason = match property {
        "bootstrap.servers" | "metadata.broker.list" => "KAFKA_BROKERS says it",
        "acks" | "request.required.acks" => {
            "an event leaves the outbox when Kafka has acknowledged it, and with less than acks=all an acknowledged event \
             can be lost with one broker"
        }
        "enable.idempotence"
        | "enable.gapless.guarantee"
        | "max.in.flight"
        | "max.in.flight.requests.per.connection"
        | "message.send.max.retries"
        | "retries"
        | "queuing.strategy"
        | "transactional.id" => {
            "the events of a wallet stay in order, and are written once, by an idempotent producer without gaps"
        }
        "message.timeout.ms" | "delivery.timeout.ms" => {
            "the relay gives no event up: a later one of its key would overtake it"
        }
        "partitioner" | "sticky.partitioning.linger.ms" => {
            "a key must go to the partition where the other modes and Java clients write it"
        }
        "enable.auto.commit"
        | "auto.commit.enable"
        | "auto.commit.interval.ms"
        | "enable.auto.offset.store"
        | "offset.store.method" => {
            "the offset of an event is committed after its effect in the database, and never before"
        }
        "auto.offset.reset" => {
            "a group without offsets reads from the beginning: else it would skip what was published before it"
        }
        "isolation.level" => "what an aborted transaction of another producer left is no event",
        "group.id"
        | "group.protocol"
        | "partition.assignment.strategy"
        | "enable.partition.eof" => {
            "the consumer loop is made for it (TOPIC_PREFIX separates the groups of several systems)"
        }
        "linger.ms" | "queue.buffering.max.ms" => "LINGER_MS says it",
        "message.max.bytes" => "MESSAGE_BYTES_MAX says it",
        "queue.buffering.max.messages" | "queue.buffering.max.kbytes" => {
            "the queue has room for the relay's largest batch, and must have it"
        }
        _ => return None,
    };
    Some(reason)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn brokers(variables: &[(&str, &str)]) -> Result<Brokers, SettingError> {
        let variables = variables.iter();
        let variables = variables.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Brokers::new("kafka:9093", &Settings::from_variables(variables))
    }

    #[test]
    fn a_setting_on_which_a_promise_depends_is_refused_with_the_reason() {
        for name in [
            "KAFKA_ACKS",
            "KAFKA_REQUEST_REQUIRED_ACKS",
            "KAFKA_ENABLE_IDEMPOTENCE",
            "KAFKA_MAX_IN_FLIGHT",
            "KAFKA_MAX_IN_FLIGHT_REQUESTS_PER_CONNECTION",
            "KAFKA_PARTITIONER",
            "KAFKA_ENABLE_AUTO_COMMIT",
            "KAFKA_ENABLE_AUTO_OFFSET_STORE",
            "KAFKA_AUTO_OFFSET_RESET",
            "KAFKA_MESSAGE_TIMEOUT_MS",
            "KAFKA_ACKS_FILE",
        ] {
            let refused = brokers(&[(name, "/dev/null")]).unwrap_err().to_string();
            let begin = format!("{name} can't be set: ");
            assert!(refused.starts_with(&begin), "{refused}");
        }
    }

    #[test]
    fn what_a_client_is_made_of_ourselves_can_be_set_or_is_guarded() {
        let mut own = crate::kafka::producer::settings(&"k:1".into(), "test");
        let any = brokers(&[("KAFKA_COMPRESSION_CODEC", "zstd")]).unwrap();
        any.override_in(&mut own);
        assert_eq!(own.get("compression.codec"), Some("zstd"));
        for (name, value) in own.config_map() {
            let variable = format!("{PREFIX}{}", name.to_uppercase().replace('.', "_"));
            match brokers(&[(&variable, value)]) {
                Ok(_) | Err(SettingError::Guarded { .. }) => {}
                Err(error) => panic!("{name}: {error}"),
            }
        }
    }

    #[test]
    fn a_setting_may_stand_in_a_file() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "planted").unwrap();
        let path = file.path().display().to_string();
        let with_file = brokers(&[("KAFKA_SASL_PASSWORD_FILE", &path)]).unwrap();
        let mut config = ClientConfig::new();
        with_file.override_in(&mut config);
        assert_eq!(config.get("sasl.password"), Some("planted"));
        assert!(!format!("{with_file:?} {config:?}").contains("planted"));
        let missing = brokers(&[("KAFKA_SASL_PASSWORD_FILE", "/no/such")]).unwrap_err();
        assert_eq!(
            missing.to_string(),
            "KAFKA_SASL_PASSWORD_FILE names the file /no/such"
        );
    }

    #[test]
    fn an_unknown_setting_and_a_wrong_value_are_refused_and_not_shown() {
        let error = |name, value| brokers(&[(name, value)]).unwrap_err().to_string();
        assert_eq!(
            error("KAFKA_SASL_PASWORD", "planted"),
            "KAFKA_SASL_PASWORD: librdkafka has no setting sasl.pasword"
        );
        assert_eq!(
            error("KAFKA_SECURITY_PROTOCOL", "planted"),
            "KAFKA_SECURITY_PROTOCOL is not a value of librdkafka's security.protocol"
        );
    }

    #[test]
    fn the_variables_of_other_programs_are_not_settings() {
        let others = [
            ("KAFKA_SERVICE_HOST", "10.0.0.1"),
            ("KAFKA_PORT", "tcp://10.0.0.1:9092"),
            ("KAFKA_PORT_9092_TCP_PROTO", "tcp"),
            ("KAFKA_HOME", "/opt/kafka"),
            ("KAFKA_BROKERS", "kafka:9092"),
            ("KAFKA_AWAY_MS_MAX", "1000"),
        ];
        assert!(brokers(&others).unwrap().properties.is_empty());
    }
}
