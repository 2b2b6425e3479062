//! The Kafka consumer loop: a batch, its effect committed, then its offsets.
//!
//! Promises: no offset is committed before the effect of its record is; a record is handed over again
//! after a crash, so handlers take each event once; a record that can't be read or handled, whatever the
//! reason, becomes a dead letter and does not stop its partition; a consumer that stands still is started
//! again, and is not ready. Leaves to the handler: the transaction, deduplication and the dead letter.

mod handler;
mod health;
mod lag;
mod record;
mod stall;
mod taking;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, warn};

pub use self::handler::{HandleError, Handler};
pub use self::health::ConsumerHealth;
pub use self::lag::GroupLag;
use self::lag::PartitionLag;
pub use self::record::{Headers, ReadRecord, Record, headers};
pub use self::record::{headers_from_json, headers_to_json, hex};
use self::stall::StallWatch;
pub(crate) use self::taking::{Attempts, Taking, hand_over};
use crate::kafka::{Brokers, LogContext};
use crate::{Backoff, RepeatedError, kafka, spans};

/// Settings of a consumer.
#[derive(Debug, Clone)]
pub struct ConsumerConfig {
    /// Where Kafka is.
    pub brokers: Brokers,
    /// The group whose members share the partitions.
    pub group: String,
    /// The topic to read.
    pub topic: String,
    /// At most so many records make a batch, which is one transaction.
    pub batch_records_max: usize,
    /// Records with one of these texts in the header `ce_type` are not for this service: their offsets
    /// are committed, and nothing else is done.
    pub ignored_types: Vec<String>,
}

/// How long a member may be silent before its partitions go to others. Kafka's default, 45 s, is how
/// long a killed consumer's partitions would stand still; 6 s is the least a broker allows by default.
const SESSION_TIMEOUT_MS: &str = "6000";

/// How long a consumer that leaves its group waits until its partitions are given back.
const LEAVE_WITHIN: Duration = Duration::from_secs(3);

/// A consumer that was told nothing for so long has been told all there is.
const QUIET: Duration = Duration::from_millis(100);

/// The times of a consumer.
#[derive(Debug, Clone, Copy)]
struct Timing {
    /// Between two tries of a batch.
    retry: Backoff,
    /// How long a consumer may stand still before it is started again; doubles with each start.
    restart: Backoff,
    /// How often to ask the broker what there is to read.
    look_every: Duration,
}

impl Timing {
    const DEFAULT: Self = Self {
        retry: Backoff {
            first: Duration::from_millis(100),
            max: Duration::from_secs(5),
        },
        // Sooner than `health::NOT_READY_AFTER`: a consumer that a new start helps stays ready.
        restart: Backoff {
            first: Duration::from_secs(15),
            max: Duration::from_secs(600),
        },
        look_every: Duration::from_secs(5),
    };
}

/// A member of a consumer group, with the handler of its records.
pub struct Consumer<H> {
    stream: StreamConsumer<LogContext>,
    log: LogContext,
    config: ConsumerConfig,
    handler: H,
    health: ConsumerHealth,
    timing: Timing,
    lag: GroupLag,
    looks: Interval,
    /// The broker's answer, while it is awaited.
    look: Option<BoxFuture<'static, anyhow::Result<Vec<PartitionLag>>>>,
    watch: StallWatch,
    /// When a partition was last read to its end.
    at_end: HashMap<i32, Instant>,
    started: Instant,
    /// Starts since the last record.
    starts: u32,
}

impl<H: Handler> Consumer<H> {
    /// Joins the group in the background.
    ///
    /// # Errors
    /// The settings do not make a consumer.
    pub fn new(config: ConsumerConfig, handler: H) -> anyhow::Result<Self> {
        Self::with_timing(config, handler, Timing::DEFAULT)
    }

    fn with_timing(config: ConsumerConfig, handler: H, timing: Timing) -> anyhow::Result<Self> {
        let log = LogContext::of("reading from Kafka");
        // As in `metrics::from_zero`.
        for name in [
            "kafka_consumer_errors_total",
            "kafka_consumer_records_total",
            "kafka_consumer_restarts_total",
        ] {
            metrics::counter!(name, "topic" => config.topic.clone()).increment(0);
        }
        let mut looks = tokio::time::interval(timing.look_every);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            stream: join(&config, &log)?,
            log,
            health: ConsumerHealth::new(config.topic.clone()),
            handler,
            timing,
            lag: GroupLag::new(&config)?,
            looks,
            look: None,
            watch: StallWatch::default(),
            at_end: HashMap::new(),
            started: Instant::now(),
            starts: 1,
            config,
        })
    }

    /// Says whether the consumer makes progress, for `/readyz`.
    #[must_use]
    pub fn health(&self) -> ConsumerHealth {
        self.health.clone()
    }

    /// Takes batches until `stop`; whatever fails is tried again.
    ///
    /// # Errors
    /// Never fails: a service's tasks return a result.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let errors = RepeatedError::of("committing offsets");
        let mut failures = 0;
        while !stop.is_cancelled() {
            match self.run_once(&stop).await {
                Ok(_) => {
                    failures = 0;
                    errors.succeeded();
                }
                Err(error) => {
                    failures += 1;
                    errors.failed(format_args!("{}: {error:#}", self.config.topic));
                    let wait = self.timing.retry.wait(failures);
                    stop.run_until_cancelled(tokio::time::sleep(wait)).await;
                }
            }
        }
        leave(self.stream).await;
        Ok(())
    }

    /// Waits for a record, takes it together with those that have arrived after it, commits their
    /// effect and then their offsets, and returns how many they were; none if `stop` came first.
    ///
    /// # Errors
    /// The effect is committed, the offsets are not: after a restart the records come again.
    pub async fn run_once(&mut self, stop: &CancellationToken) -> anyhow::Result<usize> {
        let Some(first) = stop.run_until_cancelled(self.next()).await else {
            return Ok(0);
        };
        let mut read = vec![first];
        while read.len() < self.config.batch_records_max {
            match self.stream.recv().now_or_never() {
                Some(Ok(message)) => read.push(ReadRecord::from(&message)),
                Some(Err(KafkaError::PartitionEOF(partition))) => self.reached_end(partition),
                // librdkafka goes on by itself. This batch first.
                Some(Err(_)) | None => break,
            }
        }
        let next = next_offsets(&read);
        let records = u64::try_from(read.len()).unwrap_or(u64::MAX);
        let attempts = Attempts {
            health: &self.health,
            stop,
            retry: self.timing.retry,
        };
        let ignored = &self.config.ignored_types;
        let traces = read.iter().filter_map(|read| read.record.trace());
        let span = spans::process(&self.config.topic, &self.config.group, read.len(), traces);
        let taking = hand_over(&mut self.handler, attempts, ignored, read).instrument(span);
        match taking.await {
            Taking::Taken => {}
            Taking::Stopped => return Ok(0),
        }
        self.commit(next)?;
        metrics::counter!("kafka_consumer_records_total", "topic" => self.config.topic.clone())
            .increment(records);
        debug!(topic = self.config.topic, records, "batch taken");
        Ok(usize::try_from(records).unwrap_or(usize::MAX))
    }

    /// The next record. What goes wrong meanwhile is only reported, and not waited for: librdkafka tries again by
    /// itself, and says so at each try, ten times a second. With a wait for each, records would stand still for many
    /// minutes after a minute without a broker. May be dropped half-way.
    async fn next(&mut self) -> ReadRecord {
        loop {
            let received = tokio::select! {
                received = self.stream.recv() => received.map(|message| ReadRecord::from(&message)),
                _ = self.looks.tick(), if self.look.is_none() => {
                    self.begin_look();
                    continue;
                }
                looked = answer(&mut self.look) => {
                    self.look = None;
                    self.looked(looked);
                    continue;
                }
            };
            match received {
                Ok(record) => {
                    self.starts = 1;
                    self.log.errors().succeeded();
                    return record;
                }
                Err(KafkaError::PartitionEOF(partition)) => self.reached_end(partition),
                Err(error) => {
                    metrics::counter!("kafka_consumer_errors_total", "topic" => self.config.topic.clone())
                        .increment(1);
                    self.log
                        .errors()
                        .failed(format_args!("{}: {error}", self.config.topic));
                }
            }
        }
    }

    fn reached_end(&mut self, partition: i32) {
        self.at_end.insert(partition, Instant::now());
    }

    /// Asks the broker what there is to read, in the background.
    fn begin_look(&mut self) {
        // None while the group is being formed, or if other members have all partitions. Then all of them count.
        let assigned = self.stream.assignment().map(|assigned| {
            let elements = assigned.elements();
            elements
                .iter()
                .map(TopicPartitionListElem::partition)
                .collect()
        });
        let look = self.lag.of_partitions(assigned.unwrap_or_default());
        self.look = Some(look.boxed());
    }

    /// Takes the broker's answer into account: starts the consumer again if it stands still.
    fn looked(&mut self, lags: anyhow::Result<Vec<PartitionLag>>) {
        let topic = &self.config.topic;
        let Ok(lags) = lags else {
            // A broker that is away is reported by what reads from it.
            self.watch.forget();
            self.health.moves();
            return;
        };
        self.log.errors().succeeded();
        let records = lags.iter().map(|lag| lag.records()).sum::<i64>();
        let records = u32::try_from(records).unwrap_or(u32::MAX);
        metrics::gauge!("kafka_consumer_lag_records", "topic" => topic.clone()).set(records);
        let stall = self.watch.look(Instant::now(), &lags, &self.at_end);
        let Some(stall) = stall else {
            self.health.moves();
            return;
        };
        self.health.stands_still(stall);
        let wait = self.timing.restart.ceiling(self.starts);
        if stall.lasts >= wait && self.started.elapsed() >= wait {
            warn!(
                topic,
                partition = stall.partition,
                records = stall.records,
                "the consumer has records to read and reads none: it is started again"
            );
            self.restart();
        }
    }

    fn restart(&mut self) {
        metrics::counter!("kafka_consumer_restarts_total", "topic" => self.config.topic.clone())
            .increment(1);
        self.started = Instant::now();
        self.starts = self.starts.saturating_add(1);
        match join(&self.config, &self.log) {
            Ok(stream) => {
                let old = std::mem::replace(&mut self.stream, stream);
                #[expect(clippy::disallowed_methods, reason = "the stop does not wait for it")]
                drop(tokio::spawn(leave(old)));
            }
            Err(error) => warn!(topic = self.config.topic, "starting again: {error:#}"),
        }
    }

    fn commit(&self, next: HashMap<i32, i64>) -> anyhow::Result<()> {
        let mut offsets = TopicPartitionList::new();
        for (partition, offset) in next {
            offsets
                .add_partition_offset(&self.config.topic, partition, Offset::Offset(offset))
                .context("making the list of offsets")?;
        }
        // Not awaited: an offset that is not committed is a redelivery, which the inbox absorbs.
        self.stream
            .commit(&offsets, CommitMode::Async)
            .context("committing offsets")
    }
}

/// Joins the group with a new client.
fn join(config: &ConsumerConfig, log: &LogContext) -> anyhow::Result<StreamConsumer<LogContext>> {
    let mut settings = kafka::client(&config.brokers, &config.group);
    settings
        .set("group.id", &config.group)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("partition.assignment.strategy", "range")
        .set("session.timeout.ms", SESSION_TIMEOUT_MS)
        .set("heartbeat.interval.ms", "2000")
        .set("fetch.wait.max.ms", "100")
        // See `StallWatch::look`.
        .set("enable.partition.eof", "true")
        // What may wait in memory, of all partitions together.
        .set("queued.max.messages.kbytes", "16384");
    config.brokers.override_in(&mut settings);
    let stream: StreamConsumer<LogContext> = settings
        .create_with_context(log.clone())
        .context("making a Kafka consumer")?;
    stream
        .subscribe(&[&config.topic])
        .with_context(|| format!("subscribing to {}", config.topic))?;
    Ok(stream)
}

/// Leaves the group and closes the client.
///
/// librdkafka hangs if it is closed while it has something to tell about its partitions
/// (<https://github.com/confluentinc/librdkafka/issues/4884>). So it is heard first.
async fn leave(stream: StreamConsumer<LogContext>) {
    stream.unsubscribe();
    let given_back = async {
        loop {
            match tokio::time::timeout(QUIET, stream.recv()).await {
                // What is read comes again: its offset is not committed.
                Ok(_) => {}
                Err(_) if stream.assignment().is_ok_and(|left| left.count() == 0) => break,
                Err(_) => {}
            }
        }
    };
    drop(tokio::time::timeout(LEAVE_WITHIN, given_back).await);
    // Waits for the broker.
    drop(tokio::task::spawn_blocking(move || drop(stream)).await);
}

/// Awaits the look that was begun, if one was. May be dropped half-way.
async fn answer<T>(look: &mut Option<BoxFuture<'static, T>>) -> T {
    match look {
        Some(look) => look.await,
        None => std::future::pending().await,
    }
}

/// The offsets to commit for records that were taken.
fn next_offsets(read: &[ReadRecord]) -> HashMap<i32, i64> {
    let records = read.iter().map(|read| &read.record);
    // Records of a partition come in order: the last one stands.
    records
        .map(|record| (record.partition, record.offset + 1))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{DefaultProducerContext, FutureProducer, FutureRecord};
    use tokio::time::timeout;

    use super::taking::{UNKNOWN_TRIES_MAX, take};
    use super::*;

    const TOPIC: &str = "t";

    /// Errors of an outage of some seconds.
    const ERRORS: usize = 25;

    /// Fails as it is told, and remembers what it took and rejected.
    #[derive(Default)]
    struct Stub {
        /// How a record with this offset fails.
        fails: HashMap<i64, fn() -> HandleError>,
        panics_at: Option<i64>,
        tries: u32,
        taken: Vec<i64>,
        rejected: Vec<(i64, String)>,
    }

    impl Handler for Stub {
        async fn handle(&mut self, batch: &[Record]) -> Result<(), HandleError> {
            self.tries += 1;
            for record in batch {
                assert_ne!(Some(record.offset), self.panics_at, "a defect");
                if let Some(error) = self.fails.get(&record.offset) {
                    return Err(error());
                }
            }
            self.taken.extend(batch.iter().map(|record| record.offset));
            Ok(())
        }

        async fn reject(&mut self, record: &Record, reason: &str) -> Result<(), HandleError> {
            self.rejected.push((record.offset, reason.to_owned()));
            Ok(())
        }
    }

    const QUICK: Backoff = Backoff {
        first: Duration::from_millis(1),
        max: Duration::from_millis(1),
    };

    fn batch() -> Vec<Record> {
        let record = |offset| Record {
            topic: TOPIC.to_owned(),
            partition: 0,
            offset,
            timestamp_ms: None,
            key: None,
            headers: Vec::new(),
            payload: None,
        };
        (0..3).map(record).collect()
    }

    /// Hands three records over, the second of which fails.
    async fn take_three(stub: &mut Stub) {
        let (health, stop) = (
            ConsumerHealth::new(TOPIC.to_owned()),
            CancellationToken::new(),
        );
        let attempts = Attempts {
            health: &health,
            stop: &stop,
            retry: QUICK,
        };
        let batch = batch();
        let taking = timeout(Duration::from_secs(20), take(stub, attempts, &batch));
        let taken = matches!(taking.await, Ok(Taking::Taken));
        assert!(taken, "the batch ends");
        assert_eq!(stub.taken, [0, 2], "its neighbours are taken, in order");
    }

    #[tokio::test]
    async fn a_record_that_makes_the_handler_panic_is_a_dead_letter() {
        let mut stub = Stub {
            panics_at: Some(1),
            ..Stub::default()
        };
        take_three(&mut stub).await;
        let [(1, reason)] = stub.rejected.as_slice() else {
            panic!("{:?}", stub.rejected);
        };
        assert!(reason.starts_with("the handler panicked"), "{reason}");
    }

    #[tokio::test]
    async fn a_record_that_fails_in_an_unknown_way_is_tried_some_times_and_is_a_dead_letter() {
        let mut stub = Stub::default();
        stub.fails
            .insert(1, || HandleError::Unknown("value out of range".into()));
        take_three(&mut stub).await;
        assert_eq!(stub.rejected, [(1, "value out of range".to_owned())]);
        // The batch, the first record, the guilty one, the last one.
        assert_eq!(stub.tries, UNKNOWN_TRIES_MAX + 1 + UNKNOWN_TRIES_MAX + 1);
    }

    #[tokio::test]
    async fn a_transient_failure_is_tried_for_ever_and_the_service_is_not_ready_meanwhile() {
        let mut stub = Stub::default();
        stub.fails
            .insert(1, || HandleError::Retry("the server is away".into()));
        let (health, stop) = (
            ConsumerHealth::new(TOPIC.to_owned()),
            CancellationToken::new(),
        );
        let attempts = Attempts {
            health: &health,
            stop: &stop,
            retry: QUICK,
        };
        let batch = batch();
        let taking = take(&mut stub, attempts, &batch);
        let taken = timeout(Duration::from_millis(300), taking).await;
        assert!(taken.is_err(), "it goes on");
        assert!(stub.tries > 2 * UNKNOWN_TRIES_MAX, "{}", stub.tries);
        assert_eq!(stub.rejected, []);
    }

    fn config(brokers: &str, group: &str) -> ConsumerConfig {
        ConsumerConfig {
            brokers: brokers.into(),
            group: group.to_owned(),
            topic: TOPIC.to_owned(),
            batch_records_max: 10,
            ignored_types: Vec::new(),
        }
    }

    fn consumer(brokers: &str, group: &str) -> Consumer<Stub> {
        Consumer::new(config(brokers, group), Stub::default()).unwrap()
    }

    #[tokio::test]
    async fn a_consumer_that_stands_still_is_started_again() {
        let broker: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
        broker.create_topic(TOPIC, 1, 1).unwrap();
        let brokers = broker.bootstrap_servers();
        let producer: FutureProducer = kafka::client(&brokers, "test").create().unwrap();
        let timing = Timing {
            restart: Backoff {
                first: Duration::from_millis(500),
                max: Duration::from_secs(60),
            },
            look_every: Duration::from_millis(100),
            ..Timing::DEFAULT
        };
        let config = config(&brokers, "stalled");
        let mut tested = Consumer::with_timing(config, Stub::default(), timing).unwrap();
        publish(&producer).await;
        let stop = CancellationToken::new();
        assert_eq!(tested.run_once(&stop).await.unwrap(), 1);
        // Assigned and silent, as after a topic was deleted and created again.
        let assigned = tested.stream.assignment().unwrap();
        tested.stream.pause(&assigned).unwrap();
        publish(&producer).await;
        let taken = timeout(Duration::from_secs(30), tested.run_once(&stop));
        assert_eq!(taken.await.expect("it starts again").unwrap(), 1);
        assert_eq!(tested.handler.taken, [0, 1]);
    }

    /// The broker goes away before the consumer has taken its partitions, and the group gives the consumer up.
    #[tokio::test]
    async fn a_consumer_can_stop_at_any_moment_of_an_outage() {
        let broker: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
        broker.create_topic(TOPIC, 1, 1).unwrap();
        let brokers = broker.bootstrap_servers();
        let (stopped, stops) = std::sync::mpsc::channel();
        let joined = Duration::from_secs(4);
        let moments: Vec<u64> = (0..24).map(|step| 500 * step).collect();
        for &moment in &moments {
            let (stopped, brokers) = (stopped.clone(), brokers.clone());
            let stop = CancellationToken::new();
            stop.cancel();
            // A thread each: one that hangs would hold up the runtime, and the test would not end.
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Runtime::new().unwrap();
                runtime.block_on(async {
                    let tested = consumer(&brokers, &format!("stopped after {moment} ms"));
                    tokio::time::sleep(joined + Duration::from_millis(moment)).await;
                    tested.run(stop).await.unwrap();
                });
                stopped.send(moment).unwrap();
            });
        }
        tokio::time::sleep(joined).await;
        broker.broker_down(1).unwrap();
        let mut left: HashSet<u64> = moments.iter().copied().collect();
        while !left.is_empty() {
            let moment = stops.recv_timeout(Duration::from_secs(30));
            left.remove(&moment.unwrap_or_else(|_| panic!("these hang: {left:?}")));
        }
    }

    async fn publish(producer: &FutureProducer) {
        let record = FutureRecord::to(TOPIC).key("k").payload("p");
        producer.send(record, Duration::from_secs(5)).await.unwrap();
    }

    async fn next(consumer: &mut Consumer<Stub>) -> Record {
        let next = timeout(Duration::from_secs(20), consumer.next());
        next.await.expect("a record comes in time").record
    }

    #[tokio::test]
    async fn records_come_soon_after_the_broker_was_away_for_long() {
        let broker: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
        broker.create_topic(TOPIC, 1, 1).unwrap();
        let brokers = broker.bootstrap_servers();
        let producer: FutureProducer = kafka::client(&brokers, "test").create().unwrap();
        let mut tested = consumer(&brokers, "tested");
        // Another one in the same state: what it is told waits for the first.
        let mut observer = consumer(&brokers, "observer");
        publish(&producer).await;
        assert_eq!(next(&mut tested).await.offset, 0);
        assert_eq!(next(&mut observer).await.offset, 0);

        broker.broker_down(1).unwrap();
        let errors = async {
            let mut errors = 0;
            while errors < ERRORS {
                match observer.stream.recv().await {
                    Ok(_) | Err(KafkaError::PartitionEOF(_)) => {}
                    Err(_) => errors += 1,
                }
            }
        };
        timeout(Duration::from_secs(60), errors)
            .await
            .expect("librdkafka reports that the broker is away");
        broker.broker_up(1).unwrap();
        publish(&producer).await;

        // The first record comes again: nobody has committed its offset.
        while next(&mut tested).await.offset != 1 {}
        leave(tested.stream).await;
        leave(observer.stream).await;
    }
}
