//! The settings that services share; each is a flag and an environment variable, listed by `--help`.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Command, CommandFactory, FromArgMatches};
use secrecy::{ExposeSecret as _, SecretString};

use crate::database::{Target, TargetError};
use crate::hosts::Hosts;
use crate::kafka::{Brokers, SettingError, Settings};
use crate::secret_file;

/// Reads the command line and the environment; ends the process if something is wrong, as clap does.
///
/// A setting whose value `--help` does not show is a secret: it may also stand in the file that the variable with `_FILE`
/// at its end names.
#[must_use]
pub fn parse<C: CommandFactory + FromArgMatches>() -> C {
    let mut errors = Vec::new();
    let mut command = with_files(C::command(), &mut errors);
    if let Some(error) = errors.first() {
        command.error(ErrorKind::InvalidValue, error).exit();
    }
    let matches = command.clone().get_matches();
    C::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit())
}

/// The text of a secret's file is the default of its setting.
fn with_files(command: Command, errors: &mut Vec<String>) -> Command {
    let command = command.mut_args(|argument| {
        let Some(name) = argument.get_env().and_then(OsStr::to_str) else {
            return argument;
        };
        let variable = format!("{name}_FILE");
        let Some(file) = std::env::var_os(&variable).filter(|_| argument.is_hide_env_values_set())
        else {
            return argument;
        };
        if std::env::var_os(name).is_some() {
            errors.push(format!("{name} and {variable} are both set: one is enough"));
        }
        let file = PathBuf::from(file);
        match secret_file::read(&file) {
            Ok(text) => argument
                .required(false)
                .default_value(text.expose_secret().to_owned())
                .hide_default_value(true),
            Err(error) => {
                errors.push(format!(
                    "{variable} names the file {}: {error}",
                    file.display()
                ));
                argument
            }
        }
    });
    let mut nested = Vec::new();
    let command = command.mut_subcommands(|command| with_files(command, &mut nested));
    errors.append(&mut nested);
    command
}

/// Where the database is.
#[derive(Debug, Clone, clap::Args)]
pub struct DatabaseConfig {
    /// PostgreSQL URL, such as `postgres://user@127.0.0.1:5432/wallet` or, with several servers of which the one that
    /// accepts writes is used, `postgres://user@db1:5432,db2:5432/wallet?sslmode=verify-full&sslrootcert=/ca.pem`. Or
    /// `DATABASE_URL_FILE`, a file that it stands in
    #[arg(long, env, hide_env_values = true)]
    pub database_url: SecretString,
    /// The file of passwords, as libpq reads it, for a URL without a password
    #[arg(long = "passfile", env = "PGPASSFILE")]
    pub passfile: Option<PathBuf>,
    /// Connections in the pool. Too low: requests wait for one. Too high: PostgreSQL runs out of them.
    #[arg(long, env, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub database_pool_size: u32,
}

impl DatabaseConfig {
    /// A pool of this size on the database of this URL.
    #[must_use]
    pub fn new(database_url: &str, database_pool_size: u32) -> Self {
        Self {
            database_url: database_url.into(),
            passfile: None,
            database_pool_size,
        }
    }

    /// Reads the URL.
    ///
    /// # Errors
    /// The text is not a URL, or its settings contradict each other.
    pub fn target(&self) -> Result<Target, TargetError> {
        Target::parse(self.database_url.expose_secret(), self.passfile.clone())
    }
}

/// Where Kafka is.
#[derive(Debug, Clone, clap::Args)]
pub struct KafkaConfig {
    /// Kafka bootstrap servers, host:port separated by commas. Any setting of librdkafka is `KAFKA_<SETTING>`, such as
    /// `KAFKA_SECURITY_PROTOCOL=SASL_SSL`, and `KAFKA_<SETTING>_FILE` the file that it stands in
    #[arg(long, env, default_value = "127.0.0.1:9092")]
    pub kafka_brokers: String,
    /// Put before the name of every topic and consumer group, so that several systems can share a
    /// broker, such as `staging.`
    #[arg(long, env, default_value = "")]
    pub topic_prefix: String,
    /// `KAFKA_<SETTING>` of the environment
    #[arg(skip = Settings::from_environment())]
    pub kafka_settings: Settings,
}

impl KafkaConfig {
    /// Brokers without TLS and logins, and without further settings.
    #[must_use]
    pub fn new(kafka_brokers: String, topic_prefix: String) -> Self {
        Self {
            kafka_brokers,
            topic_prefix,
            kafka_settings: Settings::default(),
        }
    }

    /// The brokers, with the settings of every client.
    ///
    /// # Errors
    /// A setting of the environment can't be obeyed.
    pub fn brokers(&self) -> Result<Brokers, SettingError> {
        Brokers::new(&self.kafka_brokers, &self.kafka_settings)
    }

    /// The full name of a topic or a consumer group.
    #[must_use]
    pub fn prefixed(&self, name: &str) -> String {
        format!("{}{name}", self.topic_prefix)
    }
}

/// What a consumer of events leaves alone.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct IntakeConfig {
    /// Types of events, separated by commas, that this service skips. An event of any other type that this version does
    /// not know becomes a dead letter, because it may be about money: name a type here that does not concern
    /// this service
    #[arg(long, env, value_delimiter = ',')]
    pub ignored_event_types: Vec<String>,
}

/// How to log, and where to send spans.
#[derive(Debug, Clone, clap::Args)]
pub struct LogConfig {
    /// Which log lines: a level, or `tracing` directives such as "info,relay=debug"
    #[arg(long, env, default_value = "info")]
    pub log: String,
    /// How log lines look
    #[arg(long, env, value_enum, default_value_t = LogFormat::Pretty)]
    pub log_format: LogFormat,
    /// Where spans are sent by OTLP over HTTP, such as `http://collector:4318`. Without it no span is recorded. Some other variables of
    /// OpenTelemetry count too, such as `OTEL_TRACES_SAMPLER` and, for a login, `OTEL_EXPORTER_OTLP_HEADERS`
    #[arg(long = "otlp-endpoint", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
    /// The service's name in its spans; without it, that of the program
    #[arg(long = "otel-service-name", env = "OTEL_SERVICE_NAME")]
    pub otel_service_name: Option<String>,
}

/// The shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// For machines: one JSON object a line.
    Json,
}

/// Limits of the HTTP server.
#[derive(Debug, Clone, clap::Args)]
pub struct HttpConfig {
    /// Milliseconds a client has to send a request's headers, and to begin its next request on an
    /// open connection. Too low: slow networks are cut off. Too high: silent clients hold connections.
    #[arg(long, env, default_value_t = 15_000)]
    pub http_header_timeout_ms: u64,
    /// Milliseconds a client has to send a request's body
    #[arg(long, env, default_value_t = 5_000)]
    pub http_body_timeout_ms: u64,
    /// Milliseconds for which an answer may stand still because its client does not read. Too low: slow
    /// networks are cut off. Too high: such clients hold connections, and hold up the end of the process.
    #[arg(long, env, default_value_t = 8_000)]
    pub http_write_timeout_ms: u64,
    /// Open connections of each listener at a time. A further one takes the place of the one that is idle longest; when
    /// none is idle, 16 more are served, for /livez, /readyz and /metrics alone, or to be told so
    #[arg(long, env, default_value_t = 2_048)]
    pub http_connections_max: usize,
    /// Milliseconds for which a service that is told to stop goes on as before, while /readyz says that it stops, so that a
    /// load balancer sends it no new requests. Too low: requests meet a closed port. Too high: each restart takes that long
    #[arg(long, env, default_value_t = 0)]
    pub http_drain_ms: u64,
    /// The names under which the service is reached.
    #[command(flatten)]
    pub hosts: Hosts,
}

impl HttpConfig {
    /// How long to go on while `/readyz` says that the service stops.
    #[must_use]
    pub const fn drain(&self) -> Duration {
        Duration::from_millis(self.http_drain_ms)
    }

    pub(crate) const fn header_timeout(&self) -> Duration {
        Duration::from_millis(self.http_header_timeout_ms)
    }

    pub(crate) const fn body_timeout(&self) -> Duration {
        Duration::from_millis(self.http_body_timeout_ms)
    }

    pub(crate) const fn write_timeout(&self) -> Duration {
        Duration::from_millis(self.http_write_timeout_ms)
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            http_header_timeout_ms: 15_000,
            http_body_timeout_ms: 5_000,
            http_write_timeout_ms: 8_000,
            http_connections_max: 2_048,
            http_drain_ms: 0,
            hosts: Hosts::default(),
        }
    }
}
