//! Debezium: Kafka Connect publishes; this relay registers the connector, watches it and deletes what it published.
//!
//! | step | what | lock | why here |
//! | --- | --- | --- | --- |
//! | 1 | take the mode's lock, then the lock of the one relay that works | both, by the session | the second relay stands by |
//! | 2 | create or check the publication, drop an invalid slot, register the connector | | Debezium creates the slot, and begins with a snapshot of the table |
//! | 3 | **look**: read the `seq` of the first rows, then the end of the log | none | whatever a query sees was committed before that end |
//! | 4 | wait until the slot is confirmed up to there | | PostgreSQL does not bring those rows again |
//! | 5 | ask Connect whether its own position agrees | | a recreated slot starts confirmed at its creation LSN: its rows come by a snapshot, which Connect knows of |
//! | 6 | `delete` the rows | the rows | a crash before it finds them again |
//!
//! Meanwhile, once a second: the relay registers a missing connector again, restarts what has failed of it, and drops a
//! slot that is lost, so that Debezium begins again with a snapshot: the table is the truth.
//!
//! An altered publication leaves rows out, and the connector's position passes them nevertheless. So step 6 happens only if the
//! publication is still the one that the connector was registered with; otherwise the slot is dropped too.
//!
//! What this mode can't do: leave out an event that Kafka refuses for good. Debezium's task stops there, for all
//! keys; the log says what to do.
//!
//! A relay that stops leaves the connector running: events are published, and deleted by the next relay.

pub(crate) mod connect;
pub(crate) mod connector;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ::outbox::schema::outbox;
use ::outbox::{drain, statement};
use chassis::Backoff;
use chassis::database::TargetError;
use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use tokio_postgres::types::PgLsn;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

pub(crate) use self::connect::Connect;
use self::connect::{ConnectError, Verdict};
use self::connector::{Connector, PUBLICATION_VERSION, UrlError};
use crate::config::Config;
use crate::mode::Mode;
use crate::parked;
use crate::progress::{BatchStats, Health};
use crate::relay_mode::RelayMode;
use crate::session::{self, SessionError, with_timeout};
use crate::slot::{self, Slot, SlotError};

/// Rows looked at and deleted together at most: 8 bytes each in memory.
const ROWS_MAX: i64 = 50_000;
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How often to ask Connect for the connector's status.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// How long to leave a connector alone that has failed. Too short: its log fills with the same failure.
const RESTART: Backoff = Backoff {
    first: Duration::from_secs(1),
    max: Duration::from_secs(30),
};

/// Debezium's error when the slot begins after the position that Debezium has reached: somebody has recreated the slot.
const STRANGE_SLOT: &str = "Cannot seek to the last known offset";

/// Partitions of the topic of heartbeats: all have the same key.
const HEARTBEAT_PARTITIONS: i32 = 1;

/// Leaves the number of replicas to the brokers.
const BROKERS_DEFAULT: i32 = -1;

#[derive(Debug, thiserror::Error)]
pub(crate) enum DebeziumError {
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    Slot(#[from] SlotError),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("connecting to the database")]
    Server(#[from] ConnectionError),
    #[error(transparent)]
    Url(#[from] UrlError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the topic of heartbeats: {0:#}")]
    Topic(anyhow::Error),
    #[error("the publication {0} was altered or dropped: Debezium begins again, with a snapshot")]
    Publication(&'static str),
    #[error("a position in the log of another form: {0}")]
    Position(String),
}

/// The one relay that works.
pub(crate) struct Debezium {
    conn: AsyncPgConnection,
    connect: Connect,
    connector: Connector,
    slot: Slot,
    seen: Option<Seen>,
    watched: Instant,
    trouble: Option<Trouble>,
}

/// Rows, and a position in the log after the commit of each.
struct Seen {
    rows: Vec<i64>,
    until: PgLsn,
}

/// A connector that does not run.
struct Trouble {
    reason: String,
    restarts: u32,
    restart_at: Instant,
}

impl Trouble {
    fn begin() -> Self {
        Self {
            reason: String::new(),
            restarts: 0,
            restart_at: Instant::now(),
        }
    }
}

impl Mode for Debezium {
    const MODE: RelayMode = RelayMode::Debezium;
    type Client = Connect;
    type Error = DebeziumError;

    /// Creates the publication and the topic of heartbeats if they are missing, and registers the connector.
    async fn start(
        mut conn: AsyncPgConnection,
        config: &Config,
        connect: &mut Connect,
        _: Option<&DebeziumError>,
    ) -> Result<Self, DebeziumError> {
        let (slot, _) = slot::ensure(&mut conn, slot::DEBEZIUM, false).await?;
        let schema = with_timeout("asking for the outbox's schema", schema(&mut conn)).await?;
        let epoch = with_timeout("asking for the epoch", session::epoch(&mut conn)).await?;
        // Of several servers the one that this session is on; after a failover the connector follows.
        let server = config.database.target()?.server().await?;
        let connector = Connector::new(config, &server, &slot, &schema, &epoch).await?;
        let heartbeats = connector.heartbeat_topic();
        let brokers = config.kafka.brokers().map_err(anyhow::Error::new);
        chassis::kafka::create_topics(
            brokers.map_err(DebeziumError::Topic)?,
            &[&heartbeats],
            HEARTBEAT_PARTITIONS,
            BROKERS_DEFAULT,
        )
        .await
        .map_err(DebeziumError::Topic)?;
        let mut debezium = Self {
            conn,
            connect: connect.clone(),
            connector,
            slot,
            seen: None,
            watched: Instant::now(),
            trouble: None,
        };
        debezium.register().await?;
        info!(slot = debezium.slot.name, "mode {} begins", Self::MODE);
        Ok(debezium)
    }

    async fn run_once(
        &mut self,
        _: &mut Connect,
        stop: &CancellationToken,
    ) -> Result<BatchStats, DebeziumError> {
        let step = stop.run_until_cancelled(self.step()).await;
        step.unwrap_or_else(|| Ok(BatchStats::default()))
    }

    fn health(&self, stats: BatchStats) -> Health {
        match &self.trouble {
            Some(trouble) => Health::Blocked(trouble.reason.clone()),
            None => stats.health(),
        }
    }

    fn wait(&self, _: u32) -> Duration {
        LOOK_EVERY
    }

    fn is_away(error: &DebeziumError) -> bool {
        match error {
            DebeziumError::Session(error) | DebeziumError::Slot(SlotError::Session(error)) => {
                error.is_away()
            }
            DebeziumError::Server(_) | DebeziumError::Connect(_) | DebeziumError::Topic(_) => true,
            DebeziumError::Slot(_)
            | DebeziumError::Target(_)
            | DebeziumError::Url(_)
            | DebeziumError::Publication(_)
            | DebeziumError::Position(_) => false,
        }
    }

    fn into_connection(self) -> AsyncPgConnection {
        self.conn
    }
}

impl Debezium {
    /// Looks after the connector if it is time, then deletes the rows that were seen before if they are published.
    /// May be dropped half-way: Kafka Connect may take its time to answer.
    async fn step(&mut self) -> Result<BatchStats, DebeziumError> {
        if self.watched.elapsed() >= WATCH_EVERY {
            self.watched = Instant::now();
            self.watch().await?;
        }
        // Steps 3 to 5: rows, and whether they are published.
        let seen = match self.seen.take() {
            Some(seen) => seen,
            None => self.look().await?,
        };
        let mut run = BatchStats {
            read: seen.rows.len(),
            ..BatchStats::default()
        };
        if seen.rows.is_empty() {
            return Ok(run);
        }
        if !self.is_published(seen.until).await? {
            self.seen = Some(seen);
            return Ok(run);
        }
        // Step 6. The publication last: an alteration after the rows were committed does no harm to them.
        self.check_publication().await?;
        let deleted = drain::delete(&mut self.conn, &seen.rows);
        run.deleted = with_timeout("deleting what was published", deleted).await?;
        with_timeout("tidying parked events", parked::tidy(&mut self.conn)).await?;
        run.published = run.deleted;
        self.trouble = None;
        run.count();
        Ok(run)
    }

    /// The first rows. Their positions are not in them: the end of the log is asked for afterwards.
    async fn look(&mut self) -> Result<Seen, DebeziumError> {
        #[derive(QueryableByName)]
        struct End {
            #[diesel(sql_type = Text)]
            log_end: String,
        }
        let rows = outbox::table.order(outbox::seq).select(outbox::seq);
        let rows = rows.limit(ROWS_MAX).load(&mut self.conn);
        let rows: Vec<i64> = with_timeout("looking at the outbox", rows).await?;
        let end = statement("select pg_current_wal_insert_lsn()::text as log_end");
        let end: End =
            with_timeout("asking for the log's end", end.get_result(&mut self.conn)).await?;
        Ok(Seen {
            rows,
            until: position(&end.log_end)?,
        })
    }

    async fn is_published(&mut self, until: PgLsn) -> Result<bool, DebeziumError> {
        let state = slot::state(&mut self.conn, &self.slot.name);
        let state = with_timeout("looking at the slot", state).await?;
        let Some(confirmed) = state.and_then(|state| state.confirmed) else {
            return Ok(false);
        };
        if position(&confirmed)? < until {
            return Ok(false);
        }
        let published = self.connect.published(&self.connector.name).await?;
        Ok(published.is_some_and(|published| published >= until))
    }

    async fn check_publication(&mut self) -> Result<(), DebeziumError> {
        let version = slot::publication_version(&mut self.conn, self.slot.publication);
        let version = with_timeout("looking at the publication", version).await?;
        if version.as_ref() == Some(&self.slot.publication_version) {
            Ok(())
        } else {
            Err(DebeziumError::Publication(self.slot.publication))
        }
    }

    /// Registers the connector if it is missing, and restarts what has failed of it.
    async fn watch(&mut self) -> Result<(), DebeziumError> {
        let name = self.connector.name.clone();
        let Some(status) = self.connect.status(&name).await? else {
            warn!(connector = name, "the connector is gone");
            return self.register().await;
        };
        match status.verdict() {
            Verdict::Runs => self.recovered(),
            Verdict::Starts => {}
            Verdict::Paused(state) => self.report_trouble(format!(
                "the connector is {state}: PUT /connectors/{name}/resume at Kafka Connect resumes it"
            )),
            Verdict::Failed(reason) => {
                let advice = advice(&reason);
                let strange_slot = reason.contains(STRANGE_SLOT);
                self.report_trouble(format!("the connector has failed: {reason}{advice}"));
                self.restart(strange_slot).await?;
            }
        }
        Ok(())
    }

    async fn register(&mut self) -> Result<(), DebeziumError> {
        let found = self.connect.config(&self.connector.name).await?;
        if found.as_ref() == Some(&self.connector.config) {
            return Ok(());
        }
        let version = |config: &BTreeMap<String, String>| config.get(PUBLICATION_VERSION).cloned();
        if let Some(found) = &found
            && version(found) != version(&self.connector.config)
        {
            let publication = self.slot.publication;
            warn!(
                publication,
                "the publication was altered: Debezium begins again, with a snapshot"
            );
            slot::drop_ours(&mut self.conn, &self.slot.name).await?;
        }
        self.connect.put(&self.connector).await?;
        let done = if found.is_some() {
            "updated"
        } else {
            "registered"
        };
        info!(connector = self.connector.name, "connector {done}");
        Ok(())
    }

    /// Restarts what has failed, if it is time; before that, mends the publication and the slot if they are the cause.
    async fn restart(&mut self, recreate_slot: bool) -> Result<(), DebeziumError> {
        let now = Instant::now();
        let Some(trouble) = self
            .trouble
            .as_mut()
            .filter(|trouble| trouble.restart_at <= now)
        else {
            return Ok(());
        };
        trouble.restarts += 1;
        trouble.restart_at = now + RESTART.ceiling(trouble.restarts);
        let (slot, _) = slot::ensure(&mut self.conn, slot::DEBEZIUM, recreate_slot).await?;
        if slot.publication_version == self.slot.publication_version {
            self.connect.restart_failed(&self.connector.name).await?;
        } else {
            self.connector.follow(&slot);
            (self.slot, self.seen) = (slot, None);
            // Another configuration starts what has failed, too.
            self.register().await?;
        }
        metrics::counter!("relay_connector_restarts_total").increment(1);
        Ok(())
    }

    /// Logs a new reason once.
    fn report_trouble(&mut self, reason: String) {
        let trouble = self.trouble.get_or_insert_with(Trouble::begin);
        if trouble.reason != reason {
            error!(connector = self.connector.name, "{reason}");
            trouble.reason = reason;
        }
    }

    /// Ends the trouble when the connector has run for as long as it was left alone: a connector that fails at the same
    /// event again and again runs for a moment each time.
    fn recovered(&mut self) {
        if self
            .trouble
            .as_ref()
            .is_some_and(|trouble| trouble.restart_at <= Instant::now())
        {
            info!(connector = self.connector.name, "the connector runs again");
            self.trouble = None;
        }
    }
}

/// What to do about a failure that no restart helps.
fn advice(reason: &str) -> &'static str {
    if reason.contains("RecordTooLargeException") {
        "; Debezium can't leave an event out: raise MESSAGE_BYTES_MAX and the topic's max.message.bytes, or run \
         mode poller or cdc, where only the events of its key wait"
    } else {
        ""
    }
}

fn position(text: &str) -> Result<PgLsn, DebeziumError> {
    text.parse()
        .map_err(|_| DebeziumError::Position(text.to_owned()))
}

async fn schema(conn: &mut AsyncPgConnection) -> QueryResult<String> {
    #[derive(QueryableByName)]
    struct Schema {
        #[diesel(sql_type = Text)]
        schema: String,
    }
    let schema: Schema = statement(
        "select nspname::text as schema from pg_class \
         join pg_namespace on pg_namespace.oid = relnamespace where pg_class.oid = 'outbox'::regclass",
    )
    .get_result(conn)
    .await?;
    Ok(schema.schema)
}

/// Removes the connector, the publication and the slot that mode debezium has left; returns what was there.
///
/// Only to be called while nobody runs in this mode. What is not published yet is still in the table.
pub(crate) async fn remove(
    conn: &mut AsyncPgConnection,
    config: &Config,
) -> Result<Removed, DebeziumError> {
    let slot = with_timeout("naming the slot", slot::name_here(conn, slot::DEBEZIUM)).await?;
    let name = Connector::name(&config.kafka.topic_prefix, &slot);
    let deleted = Connect::new(&config.connect)?.delete(&name).await;
    // Without the publication a connector that could not be deleted stops, and can't make another slot.
    let publication = slot::drop_publication(conn, slot::DEBEZIUM).await?;
    let slot = slot::drop_ours(conn, &slot).await?;
    Ok(Removed {
        connector: deleted?,
        publication,
        slot,
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Removed {
    pub(crate) connector: bool,
    pub(crate) publication: bool,
    pub(crate) slot: bool,
}
