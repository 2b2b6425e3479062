//! How fast a backlog gets from the outbox to Kafka, with every row deleted.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::backlog;
use super::modes::Crew;
use super::topic::Topic;
use crate::bench::cpu::Shares;
use crate::bench::database::{self, Copy, Session};
use crate::bench::stage::Stage;
use crate::bench::wait_until;
use crate::process::Identity;

/// How long it may take until a relay has taken up its work, and until a backlog is gone.
const WITHIN: Duration = Duration::from_secs(600);

/// Events that a relay carries first, so that it is at work when the backlog comes.
const FIRST_ROWS: u32 = 100;

/// Where the relay is when the backlog comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// Stopped in full work (SIGSTOP), and then let go on: cdc has its stream open and gets it all from there.
    HeldUp,
    /// Not running: cdc finds the backlog in the table first, as every relay that is started does.
    Down,
}

/// What was measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drained {
    /// From the relay's start, or from its going on, until the last row was deleted and the last event
    /// was acknowledged.
    pub time: Duration,
    /// Records that reached the topic.
    pub records: u64,
    /// Resident memory of relay and company, the peaks added up.
    pub resident_bytes: u64,
    /// Who used the CPU.
    pub cpu: Shares,
}

/// Drains `rows` rows.
pub(super) async fn measure(
    stage: &mut Stage<'_>,
    copy: &Copy,
    topic: &Topic,
    (crew, start): (&Crew, Start),
    rows: u32,
) -> anyhow::Result<Drained> {
    let mut conn = database::connect(&copy.url).await?;
    take_up_work(stage, copy, &mut conn, crew).await?;
    let held_up = match start {
        Start::HeldUp => Some(HeldUp::new(stage, crew).await?),
        Start::Down => {
            stage.stop(&crew.relay().name).await;
            None
        }
    };
    backlog::fill(&copy.url, rows).await?;
    let before = stage.cpu().await?;
    let records_before = topic.records().await?;
    let begun = Instant::now();
    let gone = gone(topic, records_before + u64::from(rows), &mut conn);
    let ended = match held_up {
        Some(held_up) => {
            drop(held_up);
            gone.await?
        }
        None => {
            let started = stage.start(vec![crew.relay()]);
            let ((), ended) = futures_util::future::try_join(started, gone).await?;
            ended
        }
    };
    let after = stage.cpu().await?;
    let mut resident_bytes = 0;
    for process in processes(stage, crew).await? {
        resident_bytes += process.resident_peak_bytes().unwrap_or(0);
    }
    let records = topic.records().await? - records_before;
    stop(stage, crew).await;
    Ok(Drained {
        time: ended.duration_since(begun),
        records,
        resident_bytes,
        cpu: after.since(&before),
    })
}

/// Starts the relay and whatever it needs, and has it carry a few events.
pub(super) async fn take_up_work(
    stage: &mut Stage<'_>,
    copy: &Copy,
    conn: &mut Session,
    crew: &Crew,
) -> anyhow::Result<()> {
    stage.start(crew.beside()).await?;
    stage.start(vec![crew.relay()]).await?;
    if crew.mode().streams() {
        wait_until("the relay reads its slot", WITHIN, async || {
            let streams = "select count(*) as number from pg_replication_slots \
                where database = current_database() and active";
            Ok(database::number(conn, streams).await? > 0)
        })
        .await?;
    }
    backlog::fill(&copy.url, FIRST_ROWS).await?;
    wait_until("the outbox is empty", WITHIN, async || is_empty(conn).await).await?;
    Ok(())
}

/// Stops the relay, then its company.
pub(super) async fn stop(stage: &mut Stage<'_>, crew: &Crew) {
    for name in crew.names() {
        stage.stop(&name).await;
    }
}

/// Waits until the topic has `records` records and the outbox has no row.
async fn gone(topic: &Topic, records: u64, conn: &mut Session) -> anyhow::Result<Instant> {
    let published = async || Ok(topic.records().await? >= records);
    wait_until("all events are in the topic", WITHIN, published).await?;
    wait_until("the outbox is empty", WITHIN, async || is_empty(conn).await).await
}

async fn is_empty(conn: &mut Session) -> anyhow::Result<bool> {
    let rows = "select count(*) as number from outbox";
    Ok(database::number(conn, rows).await? == 0)
}

async fn processes(stage: &Stage<'_>, crew: &Crew) -> anyhow::Result<Vec<Identity>> {
    let mut processes = Vec::new();
    for name in crew.names() {
        processes.push(stage.process(&name).await?);
    }
    Ok(processes)
}

/// Processes that are stopped where they are, until this is dropped.
struct HeldUp {
    processes: Vec<Identity>,
}

impl HeldUp {
    async fn new(stage: &Stage<'_>, crew: &Crew) -> anyhow::Result<Self> {
        let processes = processes(stage, crew).await?;
        for process in &processes {
            process.signal(Signal::SIGSTOP);
        }
        Ok(Self { processes })
    }
}

impl Drop for HeldUp {
    fn drop(&mut self) {
        for process in &self.processes {
            process.signal(Signal::SIGCONT);
        }
    }
}
