//! Deleting what nobody will ask for again: rows of the inbox, settled bills, dead letters that have ended.
//!
//! Promises: nothing younger than its retention goes, in bounded batches, one transaction each. Retention has to
//! be longer than the longest replay, which is what Kafka keeps: the topic's retention is compared with it at
//! the start, and a warning says what to set. Leaves to the service: its own tables.

use std::time::Duration;

use crate::sweep::{Swept, sweep_dead_letters, sweep_inbox};
use anyhow::Context as _;
use diesel_async::AsyncPgConnection;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use chassis::database::Pool;
use chassis::kafka::{Brokers, LogContext};
use chassis::{Service, kafka, telemetry};

/// How long to wait for a broker that is asked how long it keeps a topic.
const ASK_WITHIN: Duration = Duration::from_secs(10);

/// How long things are kept.
#[derive(Debug, Clone, clap::Args)]
pub struct HousekeepingConfig {
    /// Hours for which rows are kept that make a redelivery harmless: the inbox, settled bills, dead
    /// letters that were taken or discarded. Too low, below what Kafka keeps: a replay of a topic is taken
    /// for new. Too high: the tables grow.
    #[arg(long, env, default_value_t = 336, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub retention_h: u32,
    /// Rows that one transaction of the housekeeping looks at
    #[arg(long, env, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub housekeeping_batch_rows_max: u32,
    /// Seconds between two rounds of the housekeeping
    #[arg(long, env, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub housekeeping_every_s: u32,
}

impl HousekeepingConfig {
    /// Hours, as statements take them.
    #[must_use]
    pub fn retention_h(&self) -> i64 {
        i64::from(self.retention_h)
    }

    /// Rows, as statements take them.
    #[must_use]
    pub fn batch_rows_max(&self) -> i64 {
        i64::from(self.housekeeping_batch_rows_max)
    }
}

/// A service's own tables.
pub trait Sweep: Send {
    /// Deletes one batch after the cursor and advances the cursor, which resets at the end of the table.
    fn sweep(
        &mut self,
        conn: &mut AsyncPgConnection,
        config: &HousekeepingConfig,
    ) -> impl Future<Output = diesel::QueryResult<Batch>> + Send;

    /// The label of logs and metrics.
    fn table(&self) -> &'static str;
}

/// What a batch did.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// Rows that were deleted.
    pub deleted: i64,
    /// Whether there may be more to delete now.
    pub more: bool,
}

impl Batch {
    /// Makes the batch of what was swept, and keeps the cursor in `place`.
    pub fn of<C>(swept: Swept<C>, place: &mut Option<C>) -> Self {
        *place = swept.next;
        Self {
            deleted: swept.deleted,
            more: place.is_some(),
        }
    }
}

/// A service that has no tables of its own.
#[derive(Debug)]
pub struct NoOwnTables;

impl Sweep for NoOwnTables {
    async fn sweep(
        &mut self,
        _: &mut AsyncPgConnection,
        _: &HousekeepingConfig,
    ) -> diesel::QueryResult<Batch> {
        Ok(Batch {
            deleted: 0,
            more: false,
        })
    }

    fn table(&self) -> &'static str {
        "none"
    }
}

/// Sweeps inbox, dead letters, and what `own` has.
pub struct Housekeeping<S> {
    pool: Pool,
    config: HousekeepingConfig,
    own: S,
}

impl<S: Sweep> Housekeeping<S> {
    pub const fn new(pool: Pool, config: HousekeepingConfig, own: S) -> Self {
        Self { pool, config, own }
    }

    /// Runs as a part of `service`, which reads `topic` (with its prefix): how long Kafka keeps that is compared first.
    pub fn spawn(self, service: &Service, brokers: Brokers, topic: String)
    where
        S: 'static,
    {
        let stop = service.stop_token();
        let compared = compare_retention(brokers, topic, self.config.clone(), stop.clone());
        service.spawn("comparing retention", compared);
        service.spawn("housekeeping", self.run(stop));
    }

    /// Sweeps now and then until `stop`.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let every = Duration::from_secs(self.config.housekeeping_every_s.into());
        let mut tick = tokio::time::interval(every);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            // Cancel-safe: a batch is one statement.
            match stop.run_until_cancelled(self.run_once()).await {
                None | Some(Ok(0)) => {}
                Some(Ok(deleted)) => info!(deleted, "housekeeping"),
                Some(Err(error)) => warn!("housekeeping: {}", telemetry::chain(&*error)),
            }
        }
        Ok(())
    }

    /// Sweeps until nothing is left to delete; returns how many rows were.
    ///
    /// # Errors
    /// The database can't be reached or refuses; what was deleted is.
    pub async fn run_once(&mut self) -> anyhow::Result<i64> {
        let mut conn = self.pool.get().await?;
        let (hours, rows) = (self.config.retention_h(), self.config.batch_rows_max());
        let mut total = 0;
        let mut place = None;
        loop {
            let swept = sweep_inbox(&mut conn, place.take(), hours, rows).await?;
            let batch = Batch::of(swept, &mut place);
            total += count("inbox", batch);
            if !batch.more {
                break;
            }
        }
        loop {
            let swept = sweep_dead_letters(&mut conn, hours, rows).await?;
            let batch = Batch::of(swept, &mut None);
            total += count("dead_letters", batch);
            if batch.deleted < rows {
                break;
            }
        }
        loop {
            let batch = self.own.sweep(&mut conn, &self.config).await?;
            total += count(self.own.table(), batch);
            if !batch.more {
                break;
            }
        }
        let open = crate::dead_letter::open(&mut conn).await?;
        metrics::gauge!("dead_letters_open").set(open.letters);
        metrics::gauge!("dead_letters_oldest_age_seconds").set(open.oldest_s);
        Ok(total)
    }
}

fn count(table: &'static str, batch: Batch) -> i64 {
    let deleted = u64::try_from(batch.deleted).unwrap_or_default();
    metrics::counter!("housekeeping_deleted_total", "table" => table).increment(deleted);
    batch.deleted
}

/// How long Kafka keeps a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// For ever, or until a newer event of the key comes.
    ForEver,
    /// For so many milliseconds, and about as long as a segment lasts.
    Ms(u64),
}

/// Warns when things are kept for a shorter time than Kafka keeps `topic`. Asks once; `stop` ends the asking.
///
/// # Errors
/// None: the signature is that of a service's task. A broker that does not answer is warned about, too.
pub async fn compare_retention(
    brokers: Brokers,
    topic: String,
    config: HousekeepingConfig,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let kept = stop.run_until_cancelled(kept(&brokers, &topic)).await;
    match kept {
        None => {}
        Some(Ok(kept)) => {
            let warning = too_short(&config, kept);
            let short = if warning.is_some() { 1.0 } else { 0.0 };
            metrics::gauge!("retention_too_short", "topic" => topic.clone()).set(short);
            if let Some(warning) = warning {
                warn!(topic, "{warning}");
            }
        }
        Some(Err(error)) => warn!(
            topic,
            "whether RETENTION_H is longer than Kafka keeps the topic is not known: {error:#}"
        ),
    }
    Ok(())
}

/// What is wrong with the retention, if Kafka keeps a topic so long. Pure.
#[must_use]
pub fn too_short(config: &HousekeepingConfig, kept: Kept) -> Option<String> {
    const HOUR_MS: u64 = 3_600_000;
    let ours = config.retention_h;
    match kept {
        Kept::Ms(ms) if u64::from(ours) * HOUR_MS > ms => None,
        Kept::Ms(ms) => {
            let hours = ms / HOUR_MS + 1;
            Some(format!(
                "RETENTION_H={ours} is not longer than Kafka keeps the topic: a replay of it would be taken \
                 for new. Set it to {hours} or more, and somewhat above, as Kafka deletes a segment at a time"
            ))
        }
        Kept::ForEver => Some(format!(
            "Kafka keeps the topic for ever, RETENTION_H={ours} does not: a replay from its beginning would be \
             taken for new. Give the topic a retention.ms below that, or never replay what is older"
        )),
    }
}

/// Asks the brokers how long they keep `topic`.
///
/// # Errors
/// No broker responds within ten seconds, or the topic does not exist.
pub async fn kept(brokers: impl Into<Brokers>, topic: &str) -> anyhow::Result<Kept> {
    let admin: AdminClient<LogContext> = kafka::client(brokers, "housekeeping")
        .create_with_context(LogContext::of("asking how long Kafka keeps a topic"))
        .context("making a Kafka admin client")?;
    let options = AdminOptions::new().request_timeout(Some(ASK_WITHIN));
    let described = admin
        .describe_configs([&ResourceSpecifier::Topic(topic)], &options)
        .await
        .context("asking for the topic's settings")?;
    let resource = described.into_iter().next().context("no answer")?;
    let resource = resource.map_err(|code| anyhow::anyhow!("{code}"))?;
    let settings = resource.entry_map();
    let value = |name| settings.get(name)?.value.as_deref();
    let deletes = value("cleanup.policy").is_none_or(|policy| policy.contains("delete"));
    let retention_ms = value("retention.ms").context("the topic has no retention.ms")?;
    // -1 is for ever.
    Ok(match (deletes, retention_ms.parse()) {
        (true, Ok(ms)) => Kept::Ms(ms),
        (true | false, Err(_)) | (false, Ok(_)) => Kept::ForEver,
    })
}
