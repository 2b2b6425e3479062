//! How fast a relay publishes a backlog to Kafka and deletes its rows.

use std::time::{Duration, Instant};

use lab_stack::process::Identity;
use nix::sys::signal::Signal;

use super::backlog::{self, WITHIN, is_empty};
use super::topic::Topic;
use crate::cpu::Shares;
use crate::database::{self, Copy, Session, wait_until};
use crate::relay_under_test::{RelayUnderTest, Start};
use crate::stage::Stage;

#[derive(Debug, Clone, Copy)]
pub(super) struct DrainResult {
    /// From the relay's start, or from its going on, until the last row was deleted and the last event
    /// was acknowledged.
    pub time: Duration,
    /// Records that reached the topic.
    pub records: u64,
    /// Resident memory of relay and company, the peaks added up.
    pub resident_bytes: u64,
    pub cpu: Shares,
}

/// Drains `rows` rows.
pub(super) async fn measure(
    stage: &mut Stage<'_>,
    copy: &Copy,
    topic: &Topic,
    relay: &RelayUnderTest,
    start: Start,
    rows: u32,
) -> anyhow::Result<DrainResult> {
    let mut conn = database::connect(&copy.url).await?;
    // The backlog comes while the relay is paused or stopped.
    let held_up = match start {
        Start::HeldUp => Some(PausedProcesses::new(stage.processes_of(relay).await?)),
        Start::Down => {
            stage.stop(&relay.relay.name).await;
            None
        }
    };
    backlog::fill(&copy.url, rows).await?;
    let before = stage.cpu().await?;
    let records_before = topic.records().await?;
    // The clock runs from its start until all is published and deleted.
    let begun = Instant::now();
    let gone = gone(topic, records_before + u64::from(rows), &mut conn);
    let ended = match held_up {
        Some(held_up) => {
            drop(held_up);
            gone.await?
        }
        None => {
            let started = stage.start(vec![relay.relay.clone()]);
            let ((), ended) = futures_util::future::try_join(started, gone).await?;
            ended
        }
    };
    // What that took.
    let after = stage.cpu().await?;
    let mut resident_bytes = 0;
    for process in stage.processes_of(relay).await? {
        resident_bytes += process.resident_peak_bytes().unwrap_or(0);
    }
    let records = topic.records().await? - records_before;
    Ok(DrainResult {
        time: ended.duration_since(begun),
        records,
        resident_bytes,
        cpu: after.since(&before),
    })
}

/// Waits until the topic has `records` records and the outbox has no row.
async fn gone(topic: &Topic, records: u64, conn: &mut Session) -> anyhow::Result<Instant> {
    let published = async || Ok(topic.records().await? >= records);
    wait_until("all events are in the topic", WITHIN, published).await?;
    wait_until("the outbox is empty", WITHIN, async || is_empty(conn).await).await
}

/// Processes that are stopped where they are, until this is dropped.
struct PausedProcesses(Vec<Identity>);

impl PausedProcesses {
    fn new(processes: Vec<Identity>) -> Self {
        for process in &processes {
            process.signal(Signal::SIGSTOP);
        }
        Self(processes)
    }
}

impl Drop for PausedProcesses {
    fn drop(&mut self) {
        for process in &self.0 {
            process.signal(Signal::SIGCONT);
        }
    }
}
