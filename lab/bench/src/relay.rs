//! `lab bench relay`: how fast each mode of the relay is, against what PostgreSQL alone can do.
//!
//! Each measurement has a database of its own, a copy of an empty one.

mod backlog;
mod drain;
mod latency;
mod topic;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum as _;
use lab_stack::relay_mode::RelayMode;
use lab_terminal as terminal;

use self::backlog::{WITHIN, is_empty};
use self::drain::DrainResult;
use self::topic::Topic;
use super::cpu::{Shares, shown};
use super::database::{self, Copy, wait_until};
use super::plan::Plan;
use super::relay_under_test::{RelayUnderTest, Start, starts};
use super::report::{Report, facts};
use super::stage::Stage;
use super::stats::{Spread, grouped, megabytes, millis, per_second};
use super::table::Table;
use super::targets::{self, Target};

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Sizes {
    /// Events of a backlog
    #[arg(long, value_parser = clap::value_parser!(u32).range(100..=10_000_000))]
    rows: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    /// What PostgreSQL alone can do: read the log, then delete.
    Limits,
    Drain(RelayMode, Start),
    Latency(RelayMode),
}

impl Case {
    /// Starting one takes longer than everything that a quick run measures.
    const fn needs_a_jvm(self) -> bool {
        matches!(
            self,
            Self::Drain(RelayMode::Debezium, _) | Self::Latency(RelayMode::Debezium)
        )
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limits => f.write_str("limits"),
            Self::Drain(mode, Start::HeldUp) => write!(f, "{mode}, held up"),
            Self::Drain(mode, Start::Down) => write!(f, "{mode}, started on it"),
            Self::Latency(mode) => write!(f, "{mode}, latency"),
        }
    }
}

/// Events that a relay carries first, so that it is at work when the measurement begins.
const FIRST_ROWS: u32 = 100;

const RECEIVE: &str = "pg_recvlogical, limit";
const DELETE: &str = "delete ... returning, limit";

/// In the order of a round.
fn cases(plan: &Plan) -> Vec<Case> {
    let drains = [Start::HeldUp, Start::Down].into_iter().flat_map(|start| {
        let modes = RelayMode::value_variants().iter().copied();
        let modes = modes.filter(move |mode| starts(*mode).contains(&start));
        modes.map(move |mode| Case::Drain(mode, start))
    });
    let latencies = RelayMode::value_variants()
        .iter()
        .copied()
        .map(Case::Latency);
    let all = std::iter::once(Case::Limits).chain(drains).chain(latencies);
    all.filter(|case| !(plan.quick && case.needs_a_jvm()))
        .collect()
}

#[derive(Debug, Clone, Copy)]
struct Rate {
    per_second: u64,
    resident_bytes: Option<u64>,
    repeated: u64,
    cpu: Shares,
}

/// Everything that was measured, by round, under the names of the cases.
#[derive(Debug, Default)]
struct Measurements {
    /// In the order of the first round.
    names: Vec<String>,
    rates: BTreeMap<String, Vec<Rate>>,
    latencies: BTreeMap<String, Vec<latency::Measurement>>,
}

/// Measures all cases in rounds.
pub(super) async fn measure(
    stage: &mut Stage<'_>,
    sizes: &Sizes,
    plan: &Plan,
) -> anyhow::Result<Report> {
    let mut facts = facts(&stage.servers).await?;
    let rows = sizes.rows.unwrap_or(if plan.quick { 500 } else { 300_000 });
    stage.prepare("wallet-api").await?;
    // What to measure.
    let topic = Topic::new(&stage.servers.kafka_brokers, stage.topic("wallet.events"))?;
    let cases = plan.wanted(cases(plan))?;
    // In rounds, so that a slow moment of the machine meets all cases.
    let mut found = Measurements::default();
    for round in 1..=plan.runs {
        terminal::line(format_args!("round {round} of {}", plan.runs));
        for case in &cases {
            measure_one(stage, &topic, *case, rows, plan.time, &mut found)
                .await
                .with_context(|| case.to_string())?;
        }
    }
    facts.push((
        "each measurement",
        format!(
            "{} times; a backlog of {} events of {} wallets; latency at {} events/s for {} s",
            plan.runs,
            grouped(rows.into()),
            grouped(backlog::KEYS.into()),
            latency::PER_SECOND,
            plan.time.as_secs()
        ),
    ));
    Ok(Report {
        title: "From the outbox to Kafka",
        about: ABOUT.to_owned(),
        facts,
        tables: vec![
            found.speed(),
            found.latency(),
            found.ratios(),
            found.profile(),
        ],
    })
}

const ABOUT: &str = "\
A backlog was committed one event a transaction, and a relay carries it to Kafka (acks=all) and deletes it: from \
its start until the topic has all events and the outbox has none. \"Held up\": the relay was at work and was \
stopped with SIGSTOP while the backlog came; this is how fast it goes in full work, and cdc has all of it from \
its replication stream. \"Started on it\": it was down, and its start is part of the time; every relay then looks \
into the table first, cdc too. Beside it the limits, on the same rows: `pg_recvlogical` (pgoutput) reads the log \
to `/dev/null`, and a loop on one connection deletes the oldest 1,000 rows, returning them, until there are none. \
Latency: from the return of a commit to the arrival of its event at a consumer, by one clock in one process, at a \
steady rate, one event a transaction. Each measurement has a fresh copy of an empty database.";

async fn measure_one(
    stage: &mut Stage<'_>,
    topic: &Topic,
    case: Case,
    rows: u32,
    time: Duration,
    found: &mut Measurements,
) -> anyhow::Result<()> {
    let copy = stage.databases.copy().await?;
    match case {
        Case::Limits => {
            backlog::make_slot(&copy).await?;
            backlog::fill(&copy.url, rows).await?;
            let before = stage.cpu().await?;
            let time = backlog::receive(&stage.folder(), &copy).await?;
            let between = stage.cpu().await?;
            found.rate(RECEIVE, Rate::limit(rows, time, between.since(&before)));
            let (deleted, time) = backlog::delete(&copy.url).await?;
            anyhow::ensure!(deleted == u64::from(rows), "{deleted} rows were there");
            let cpu = stage.cpu().await?.since(&between);
            found.rate(DELETE, Rate::limit(rows, time, cpu));
        }
        Case::Drain(mode, start) => {
            let relay = at_work(stage, mode, &copy).await?;
            let drained = drain::measure(stage, &copy, topic, &relay, start, rows).await?;
            stage.stop_all(&relay).await;
            found.rate(&case.to_string(), Rate::relay(rows, drained));
        }
        Case::Latency(mode) => {
            let relay = at_work(stage, mode, &copy).await?;
            let measured = latency::measure(stage, &copy, topic, time).await?;
            stage.stop_all(&relay).await;
            found.latency_of(mode, measured);
        }
    }
    stage.databases.drop(copy).await
}

/// Starts a relay and whatever it needs, and has it carry a few events.
async fn at_work(
    stage: &mut Stage<'_>,
    mode: RelayMode,
    copy: &Copy,
) -> anyhow::Result<RelayUnderTest> {
    let mut conn = database::connect(&copy.url).await?;
    let relay = stage.relay(mode, copy).await?;
    stage.start(relay.dependencies.clone()).await?;
    stage.start(vec![relay.relay.clone()]).await?;
    if mode != RelayMode::Poller {
        wait_until("the relay reads its slot", WITHIN, async || {
            let streams = "select count(*) as number from pg_replication_slots \
                where database = current_database() and active";
            Ok(database::number(&mut conn, streams).await? > 0)
        })
        .await?;
    }
    backlog::fill(&copy.url, FIRST_ROWS).await?;
    wait_until("the outbox is empty", WITHIN, async || {
        is_empty(&mut conn).await
    })
    .await?;
    Ok(relay)
}

impl Rate {
    fn limit(rows: u32, time: Duration, cpu: Shares) -> Self {
        Self {
            per_second: per_second(rows.into(), time),
            resident_bytes: None,
            repeated: 0,
            cpu,
        }
    }

    fn relay(rows: u32, drained: DrainResult) -> Self {
        Self {
            per_second: per_second(rows.into(), drained.time),
            resident_bytes: Some(drained.resident_bytes),
            repeated: drained.records.saturating_sub(rows.into()),
            cpu: drained.cpu,
        }
    }
}

impl Measurements {
    fn rate(&mut self, name: &str, rate: Rate) {
        terminal::line(format_args!(
            "{name}: {} events/s",
            grouped(rate.per_second)
        ));
        if !self.names.iter().any(|known| known == name) {
            self.names.push(name.to_owned());
        }
        self.rates.entry(name.to_owned()).or_default().push(rate);
    }

    fn latency_of(&mut self, mode: RelayMode, measured: latency::Measurement) {
        let p99 = millis(measured.latency.p99);
        terminal::line(format_args!("{mode}: p99 {p99} ms"));
        let measurements = self.latencies.entry(mode.to_string()).or_default();
        measurements.push(measured);
    }

    /// The round of the median, with the spread.
    fn median(&self, name: &str) -> Option<(Spread<u64>, &Rate)> {
        let rounds = self.rates.get(name)?;
        let spread = Spread::of(rounds.iter().map(|rate| rate.per_second))?;
        let round = rounds
            .iter()
            .find(|rate| rate.per_second == spread.median)?;
        Some((spread, round))
    }

    fn speed(&self) -> Table {
        let rows = self.names.iter().filter_map(|name| {
            let (spread, _) = self.median(name)?;
            let rounds = self.rates.get(name)?;
            let resident = Spread::of(rounds.iter().filter_map(|rate| rate.resident_bytes));
            let repeated = rounds.iter().map(|rate| rate.repeated).max()?;
            Some(vec![
                name.clone(),
                grouped(spread.median),
                format!("{} .. {}", grouped(spread.min), grouped(spread.max)),
                resident.map_or_else(
                    || "-".to_owned(),
                    |bytes| megabytes(bytes.median).to_string(),
                ),
                repeated.to_string(),
            ])
        });
        Table {
            title: "A backlog, in events a second".to_owned(),
            columns: vec!["who", "median", "min .. max", "resident MB", "sent twice"],
            rows: rows.collect(),
            notes: vec![
                "Resident: the peak, with everything that the mode needs besides the relay, without \
                 PostgreSQL and Kafka. Sent twice: the maximum of all rounds."
                    .to_owned(),
            ],
        }
    }

    fn latency(&self) -> Table {
        let rows = self.latencies.iter().filter_map(|(name, rounds)| {
            let median =
                |of: fn(&latency::Measurement) -> Duration| Spread::of(rounds.iter().map(of));
            let p99 = median(|round| round.latency.p99)?;
            Some(vec![
                name.clone(),
                millis(median(|round| round.latency.p50)?.median),
                millis(p99.median),
                format!("{} .. {}", millis(p99.min), millis(p99.max)),
                millis(median(|round| round.latency.max)?.median),
                millis(median(|round| round.late_max)?.median),
            ])
        });
        Table {
            title: "From commit to consumer, in milliseconds".to_owned(),
            columns: vec!["mode", "p50", "p99", "p99 min .. max", "max", "commit late by"],
            rows: rows.collect(),
            notes: vec![
                "Medians of the rounds. Commit late by: how long after its time in the schedule the \
                 latest commit returned; it is not part of the latency."
                    .to_owned(),
            ],
        }
    }

    fn profile(&self) -> Table {
        let rates = self.names.iter().filter_map(|name| {
            let (_, rate) = self.median(name)?;
            Some((name.clone(), rate.cpu))
        });
        let latencies = self
            .latencies
            .iter()
            .filter_map(|(mode, rounds)| Some((format!("{mode}, latency"), rounds.first()?.cpu)));
        let rows = rates.chain(latencies).map(|(name, cpu)| {
            vec![
                name,
                shown(cpu.postgres),
                shown(Some(cpu.services + cpu.tools)),
                shown(cpu.kafka),
                shown(Some(cpu.lab)),
            ]
        });
        Table {
            title: "Who used the CPU".to_owned(),
            columns: vec!["who", "PostgreSQL", "relay or tool", "Kafka", "lab"],
            rows: rows.collect(),
            notes: vec![
                "Shares of one core; of the round of the median, and of the first round of the \
                 latencies. The lab writes and receives there."
                    .to_owned(),
            ],
        }
    }

    fn ratios(&self) -> Table {
        let rates = |name: &str| {
            let rounds = self.rates.get(name).into_iter().flatten();
            rounds.map(|rate| Some(rate.per_second)).collect::<Vec<_>>()
        };
        let memory = |name: &str| {
            let rounds = self.rates.get(name).into_iter().flatten();
            rounds.map(|rate| rate.resident_bytes).collect::<Vec<_>>()
        };
        let p99 = |mode: &str| {
            let rounds = self.latencies.get(mode).into_iter().flatten();
            rounds
                .map(|round| Some(round.latency.p99.as_nanos()))
                .collect::<Vec<_>>()
        };
        let (poller, cdc) = ("poller, held up", "cdc, held up");
        let debezium = "debezium, held up";
        let target = |what: &str, hundredths| Target {
            what: what.to_owned(),
            hundredths,
        };
        targets::table(vec![
            (
                target("poller : bare delete loop", 50),
                targets::of_rounds(rates(poller), rates(DELETE)),
            ),
            (
                target("cdc, deletes included : pg_recvlogical", 60),
                targets::of_rounds(rates(cdc), rates(RECEIVE)),
            ),
            (
                target("cdc : Debezium", 300),
                targets::of_rounds(rates(cdc), rates(debezium)),
            ),
            (
                target("memory of Debezium : of cdc", 2_000),
                targets::of_rounds(memory(debezium), memory(cdc)),
            ),
            (
                target("p99 of Debezium : of cdc", 300),
                targets::of_rounds(p99("debezium"), p99("cdc")),
            ),
        ])
    }
}
