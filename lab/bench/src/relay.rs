//! `lab bench relay`: how fast each mode of the relay is, against what PostgreSQL alone can do.
//!
//! Each measurement has a database of its own, a copy of an empty one.

pub(super) mod backlog;
pub(super) mod drain;
mod latency;
pub(super) mod running;

use std::fmt;
use std::time::Duration;

use lab_stack::relay_mode::RelayMode;

use self::backlog::Backlog;
use self::running::{at_work, modes};
use super::cpu::shown;
use super::delay::{self, Delay};
use super::plan::Plan;
use super::plot::Plot;
use super::rate::{self, Rate, RateSeries};
use super::relay_under_test::{RelayState, states};
use super::report::Report;
use super::stage::Stage;
use super::stats::{self, Series, grouped, micros, of_case, per_second};
use super::table::Table;
use super::targets::Target;

#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Sizes {
    /// Events of a backlog
    #[arg(long, value_parser = clap::value_parser!(u32).range(100..=10_000_000))]
    rows: Option<u32>,
}

/// What has a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    /// The limit of reading: a client of PostgreSQL's own reads the log.
    Receive,
    /// The limit of deleting.
    Delete,
    Drain(RelayMode, RelayState),
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Receive => f.write_str("pg_recvlogical, limit"),
            Self::Delete => f.write_str("delete ... returning, limit"),
            Self::Drain(mode, RelayState::Running) => write!(f, "{mode}, running"),
            Self::Drain(mode, RelayState::Paused) => write!(f, "{mode}, resumed"),
            Self::Drain(mode, RelayState::Stopped) => write!(f, "{mode}, started"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LatencyCase(RelayMode);

impl fmt::Display for LatencyCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, latency", self.0)
    }
}

/// In the order of a round.
fn cases(plan: &Plan) -> Vec<Case> {
    let mut cases = vec![Case::Receive, Case::Delete];
    for state in [RelayState::Paused, RelayState::Stopped] {
        let modes = modes(plan.quick).into_iter();
        let modes = modes.filter(|mode| states(*mode).contains(&state));
        cases.extend(modes.map(|mode| Case::Drain(mode, state)));
    }
    cases
}

/// Measures all cases in rounds.
pub(super) async fn measure(
    stage: &mut Stage<'_>,
    sizes: &Sizes,
    plan: &Plan,
) -> anyhow::Result<Report> {
    let rows = sizes.rows.unwrap_or(if plan.quick { 500 } else { 300_000 });
    let backlog = Backlog::Transactions(rows);
    let template = stage.template("wallet-api").await?;
    let topic = stage.new_topics().await?;
    // The backlogs.
    let rates = async |stage: &mut Stage<'_>, case: &Case| {
        let copy = stage.copy(&template).await?;
        match *case {
            Case::Receive => {
                backlog::make_slot(&copy).await?;
                backlog.append(&copy.url).await?;
                let folder = stage.folder();
                limit(stage, backlog, backlog::receive(&folder, &copy)).await
            }
            Case::Delete => {
                backlog.append(&copy.url).await?;
                limit(stage, backlog, backlog.delete(&copy.url)).await
            }
            Case::Drain(mode, state) => {
                let relay = at_work(stage, mode, &copy).await?;
                drain::measure(stage, &copy, &topic, &relay, state, backlog).await
            }
        }
    };
    let rates = plan.measure(stage, cases(plan), "events/s", rates).await?;
    // The latencies.
    let delays = async |stage: &mut Stage<'_>, case: &LatencyCase| {
        let copy = stage.copy(&template).await?;
        at_work(stage, case.0, &copy).await?;
        latency::measure(stage, &copy, &topic, plan.time).await
    };
    let latencies = modes(plan.quick).into_iter().map(LatencyCase);
    let delays = plan.measure(stage, latencies, delay::UNIT, delays).await?;
    let size = format!(
        "a backlog of {} events of {} wallets; latency at {} events/s for {} s",
        grouped(rows.into()),
        grouped(backlog::KEYS.into()),
        latency::PER_SECOND,
        plan.time.as_secs()
    );
    Ok(report(size, &rates, &delays))
}

fn report(
    size: String,
    rates: &[RateSeries<Case>],
    delays: &[Series<LatencyCase, Delay>],
) -> Report {
    let speed_notes = vec![format!(
        "{} It is that of everything that the mode needs besides PostgreSQL and Kafka. Sent twice: the maximum of \
             all rounds.",
        rate::RESIDENT
    )];
    let delay_notes = vec![
        "Medians of the rounds. Commit late by: how long after its time in the schedule the latest commit returned; \
         that is not part of the latency."
            .to_owned(),
    ];
    let delay_title = "From commit to consumer, in milliseconds";
    Report {
        title: "From the outbox to Kafka",
        about: ABOUT,
        size,
        plot: Plot::new("A backlog, in events a second", grouped, rates),
        tables: vec![
            rate::table("A backlog, in events a second", "who", rates, speed_notes),
            delay::table(delay_title, "commit late by", delays, delay_notes),
            profile(rates, delays),
        ],
        targets: targets(rates, delays),
        series: [stats::to_json(rates), stats::to_json(delays)].concat(),
    }
}

const ABOUT: &str = "\
A backlog was committed one event a transaction, and a relay carries it to Kafka (acks=all) and deletes it: from \
its start until the topic has all events and the outbox has none. \"Resumed\": the relay was at work and was \
paused with SIGSTOP while the backlog came; this is how fast it is in full work. cdc reads old rows from the table, \
and lets the log pass. \"Started\": it was stopped, and its start is part of the time. The limits are measured on the same rows: `pg_recvlogical` (pgoutput) reads the log \
to `/dev/null`, and a loop on one connection deletes the oldest 1,000 rows, returning them, until there are none. \
Latency: from the return of a commit to the arrival of its event at a consumer, by one clock in one process, at a \
steady rate, one event a transaction. Each measurement has a fresh copy of an empty database.";

/// How fast `time_of` does something with the rows of a backlog, without a relay.
async fn limit(
    stage: &Stage<'_>,
    backlog: Backlog,
    time_of: impl Future<Output = anyhow::Result<Duration>>,
) -> anyhow::Result<Rate> {
    let before = stage.cpu().await?;
    let time = time_of.await?;
    Ok(Rate {
        per_second: per_second(backlog.rows().into(), time),
        cpu: Some(stage.cpu().await?.since(&before)),
        ..Rate::default()
    })
}

fn profile(rates: &[RateSeries<Case>], delays: &[Series<LatencyCase, Delay>]) -> Table {
    let rates = rates.iter().filter_map(|series| {
        let cpu = series.median_round()?.cpu?;
        Some((series.case.to_string(), cpu))
    });
    let delays = delays.iter().filter_map(|series| {
        let cpu = series.median_round()?.cpu;
        Some((series.case.to_string(), cpu))
    });
    let rows = rates.chain(delays).map(|(name, cpu)| {
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
            "Shares of one core, of the round of the median. In the latencies the lab writes and receives."
                .to_owned(),
        ],
    }
}

fn targets(rates: &[RateSeries<Case>], delays: &[Series<LatencyCase, Delay>]) -> Vec<Target> {
    let resumed = |mode| Case::Drain(mode, RelayState::Paused);
    let rate = |case| of_case(rates, &case, |round| round.per_second);
    let memory = |mode| {
        let bytes = of_case(rates, &resumed(mode), |round| round.resident_bytes);
        bytes.into_iter().flatten()
    };
    let p99 = |mode| {
        of_case(delays, &LatencyCase(mode), |round| {
            micros(round.latency.p99)
        })
    };
    let (poller, cdc) = (resumed(RelayMode::Poller), resumed(RelayMode::Cdc));
    let debezium = resumed(RelayMode::Debezium);
    vec![
        Target::new(
            "poller : bare delete loop",
            70,
            rate(poller),
            rate(Case::Delete),
        ),
        Target::new(
            "cdc, deletes included : pg_recvlogical",
            150,
            rate(cdc),
            rate(Case::Receive),
        ),
        Target::new("cdc : Debezium", 500, rate(cdc), rate(debezium)),
        Target::new(
            "memory of Debezium : of cdc",
            2_000,
            memory(RelayMode::Debezium),
            memory(RelayMode::Cdc),
        ),
        Target::new(
            "p99 of Debezium : of cdc",
            300,
            p99(RelayMode::Debezium),
            p99(RelayMode::Cdc),
        ),
    ]
}
