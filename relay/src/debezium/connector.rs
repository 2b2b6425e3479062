//! The connector's configuration: Debezium is to publish what the other modes publish, byte for byte.
//!
//! Pure: from settings to a map. What has no reason here follows from the names of the outbox's columns.

use std::collections::BTreeMap;
use std::path::Path;

use chassis::database::{Server, Tls};
use tokio_postgres::config::Host;

use crate::config::Config;
use crate::slot::Slot;

/// Milliseconds between two heartbeats: an event stays in the outbox for about that long after it was published,
/// because only a later record shows how far Debezium has come. Too low: records for nothing.
const HEARTBEAT_MS: u32 = 500;

/// Milliseconds that Debezium waits for more when it has nothing to do. Its own default, 500, is in every event's
/// latency.
const POLL_MS: u32 = 10;

/// Milliseconds before Debezium comes back after a connection is lost. Its own default is 10 s.
const RETRY_MS: u32 = 1_000;

/// Where the configuration keeps the version of the publication that the connector was registered with. Debezium does
/// not read it.
pub(super) const PUBLICATION_VERSION: &str = "outbox.publication.version";

/// Not `Debug`: its configuration may have the password of the database.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Connector {
    /// Unique in the cluster of workers.
    pub(crate) name: String,
    pub(crate) config: BTreeMap<String, String>,
}

#[derive(Debug, thiserror::Error)]
#[error("Debezium can't connect to the database of DATABASE_URL: {0}")]
pub(crate) struct UrlError(String);

impl Connector {
    /// The topics' prefix and the name of the slot.
    pub(crate) fn name(topic_prefix: &str, slot: &str) -> String {
        format!("{topic_prefix}{slot}")
    }

    /// The connector of the table `outbox` in `schema`, whose numbers belong to `epoch`, on `server`.
    pub(crate) async fn new(
        config: &Config,
        server: &Server,
        slot: &Slot,
        schema: &str,
        epoch: &str,
    ) -> Result<Self, UrlError> {
        let name = Self::name(&config.kafka.topic_prefix, &slot.name);
        let own = [
            vec![("name".to_owned(), name.clone())],
            database(config, server, slot).await?,
            source(&name, slot, schema),
            router(&config.kafka.topic_prefix, epoch),
            producer(config),
        ];
        let config = own.into_iter().flatten().collect();
        Ok(Self { name, config })
    }

    /// Continues with another version of the publication.
    pub(super) fn follow(&mut self, slot: &Slot) {
        let version = slot.publication_version.clone();
        self.config.insert(PUBLICATION_VERSION.to_owned(), version);
    }

    pub(crate) fn heartbeat_topic(&self) -> String {
        format!("__debezium-heartbeat.{}", self.name)
    }
}

type Settings = Vec<(String, String)>;

async fn database(config: &Config, server: &Server, slot: &Slot) -> Result<Settings, UrlError> {
    let Some(Host::Tcp(host)) = server.host() else {
        return Err(UrlError(
            "a worker of Kafka Connect needs a host and a port".to_owned(),
        ));
    };
    let password = match &config.connect.connect_database_password {
        Some(reference) => reference.clone(),
        None => {
            let password = server.password().await.map_err(UrlError)?;
            String::from_utf8_lossy(&password.unwrap_or_default()).into_owned()
        }
    };
    let Tls {
        mode,
        root,
        identity,
    } = &server.tls;
    let mut own = vec![
        ("database.hostname", host.clone()),
        ("database.port", server.port().to_string()),
        ("database.user", slot.user.clone()),
        ("database.password", password),
        ("database.dbname", slot.database.clone()),
        ("database.sslmode", mode.to_string()),
    ];
    // The workers read these files, at the same paths.
    let mut file = |name, path: &Path| own.push((name, path.display().to_string()));
    if let Some(root) = root {
        file("database.sslrootcert", root);
    }
    if let Some((certificate, key)) = identity {
        file("database.sslcert", certificate);
        file("database.sslkey", key);
    }
    let own = own.into_iter();
    Ok(own.map(|(key, value)| (key.to_owned(), value)).collect())
}

fn source(name: &str, slot: &Slot, schema: &str) -> Settings {
    let (slot_name, publication) = (&slot.name, slot.publication);
    let version = &slot.publication_version;
    settings(&format!(
        "connector.class = io.debezium.connector.postgresql.PostgresConnector
        tasks.max = 1
        topic.prefix = {name}
        plugin.name = pgoutput
        slot.name = {slot_name}
        # Ignored before PostgreSQL 17.
        slot.failover = true
        slot.retry.delay.ms = {RETRY_MS}
        publication.name = {publication}
        {PUBLICATION_VERSION} = {version}
        # Without our publication Debezium must stop: it creates a slot by itself, and would do so after a change of mode.
        publication.autocreate.mode = disabled
        table.include.list = {schema}\\.outbox
        # Rows that were there before the slot; all rows again, if the slot is not the one it knows.
        snapshot.mode = when_needed
        # That also if it has no more than begun to stream, which `when_needed` alone does not notice: Debezium fails
        # then, and the relay drops the slot.
        offset.mismatch.strategy = trust_offset
        snapshot.select.statement.overrides = {schema}.outbox
        snapshot.select.statement.overrides.{schema}.outbox = select * from {schema}.outbox order by seq
        heartbeat.interval.ms = {HEARTBEAT_MS}
        # Writes to the log, so that the slot of an idle outbox advances and retains no log.
        heartbeat.action.query = select pg_logical_emit_message(false, '{publication}', '')
        message.prefix.exclude.list = {publication}
        poll.interval.ms = {POLL_MS}
        max.batch.size = 8192
        max.queue.size = 32768
        retriable.restart.connector.wait.ms = {RETRY_MS}
        tombstones.on.delete = false
        extended.headers.enabled = false"
    ))
}

fn router(topic_prefix: &str, epoch: &str) -> Settings {
    settings(&format!(
        "transforms = outbox,id,epoch
        transforms.outbox.type = io.debezium.transforms.outbox.EventRouter
        # Not heartbeats.
        transforms.outbox.predicate = is_row
        transforms.outbox.table.field.event.key = aggregateid
        transforms.outbox.route.by.field = aggregatetype
        transforms.outbox.route.topic.replacement = {topic_prefix}${{routedByValue}}.events
        transforms.outbox.table.fields.additional.placement = id:header:ce_id,type:header:ce_type,\
            source:header:ce_source,specversion:header:ce_specversion,contenttype:header:content-type,\
            traceparent:header:traceparent,tracestate:header:tracestate,seq:header:outbox_seq
        # Rows in the log that are older than a column lack it.
        transforms.outbox.table.fields.additional.error.on.missing = false
        # The router writes the id into a header of its own too.
        transforms.id.type = org.apache.kafka.connect.transforms.DropHeaders
        transforms.id.headers = id
        transforms.epoch.type = org.apache.kafka.connect.transforms.InsertHeader
        transforms.epoch.header = outbox_epoch
        transforms.epoch.value.literal = {epoch}
        predicates = is_row
        predicates.is_row.type = org.apache.kafka.connect.transforms.predicates.TopicNameMatches
        predicates.is_row.pattern = .*\\.outbox
        # Text as it is: a key in quotes would hash to another partition.
        key.converter = org.apache.kafka.connect.storage.StringConverter
        value.converter = org.apache.kafka.connect.storage.StringConverter"
    ))
}

fn producer(config: &Config) -> Settings {
    let (linger_ms, bytes_max) = (
        config.publisher.linger_ms,
        config.publisher.message_bytes_max,
    );
    settings(&format!(
        "producer.override.linger.ms = {linger_ms}
        producer.override.compression.type = lz4
        producer.override.max.request.size = {bytes_max}"
    ))
}

/// Reads `key = value`, one a line; a line that begins with `#` is a comment.
fn settings(text: &str) -> Settings {
    let lines = text.lines().map(str::trim);
    let settings = lines.filter(|line| !line.starts_with('#'));
    let settings = settings.filter_map(|line| line.split_once(" ="));
    settings
        .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use chassis::config::{DatabaseConfig, KafkaConfig};

    use super::*;

    async fn connector(database_url: &str) -> Result<Connector, UrlError> {
        let database = DatabaseConfig::new(database_url, 8);
        let server = database.target().unwrap().server().await.unwrap();
        let kafka = KafkaConfig::new(String::new(), "staging.".to_owned());
        let slot = Slot {
            name: "outbox_debezium_wallet".to_owned(),
            publication: crate::slot::DEBEZIUM,
            database: "wallet".to_owned(),
            user: "relay".to_owned(),
            publication_version: "16500-745-16501-745".to_owned(),
        };
        let config = Config::new(database, kafka);
        Connector::new(&config, &server, &slot, "public", "e0123456789abcdef").await
    }

    #[tokio::test]
    async fn the_configuration_says_all_that_debezium_has_to_know() {
        let url = "postgres://relay:se%40cret@db.internal:6432/wallet?sslmode=verify-full\
            &sslrootcert=/tls/ca.pem&sslcert=/tls/relay.pem&sslkey=/tls/relay.pk8";
        let connector = connector(url).await.unwrap();
        assert_eq!(
            connector.heartbeat_topic(),
            "__debezium-heartbeat.staging.outbox_debezium_wallet"
        );
        let lines = connector.config.iter();
        let lines: Vec<String> = lines
            .map(|(key, value)| format!("{key} = {value}"))
            .collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[tokio::test]
    async fn a_url_that_only_this_machine_could_use_is_refused() {
        let url = "postgres://relay@%2Frun%2Fpostgresql/wallet";
        assert!(connector(url).await.is_err());
    }
}
