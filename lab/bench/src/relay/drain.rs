//! How fast a relay publishes a backlog to Kafka and deletes its rows.

use std::time::Instant;

use lab_stack::process::Identity;
use nix::sys::signal::Signal;

use super::backlog::{Backlog, WITHIN, is_empty};
use crate::database::{self, Database, Session, wait_until};
use crate::rate::Rate;
use crate::relay_under_test::{RelayState, RelayUnderTest};
use crate::stage::Stage;
use crate::stats::per_second;
use crate::topic::Topic;

/// Drains a backlog: from the relay's start, from its resumption, or from the return of the commit, until the last row was
/// deleted and the last event was acknowledged.
pub(crate) async fn measure(
    stage: &mut Stage<'_>,
    database: &Database,
    topic: &Topic,
    relay: &RelayUnderTest,
    state: RelayState,
    backlog: Backlog,
) -> anyhow::Result<Rate> {
    let mut conn = database::connect(&database.url).await?;
    let records_before = topic.records().await?;
    // The backlog comes while the relay is in that state.
    let mut paused = None;
    match state {
        RelayState::Running => {}
        RelayState::Paused => {
            paused = Some(PausedProcesses::new(stage.processes(&relay.names()).await?));
        }
        RelayState::Stopped => stage.stop(&relay.relay.name).await,
    }
    backlog.append(&database.url).await?;
    let before = stage.cpu().await?;
    // The clock runs until all is published and deleted.
    let begun = Instant::now();
    drop(paused);
    let rows = u64::from(backlog.rows());
    let gone = gone(topic, records_before + rows, &mut conn);
    let ended = if state == RelayState::Stopped {
        let started = stage.start(vec![relay.relay.clone()]);
        let ((), ended) = futures_util::future::try_join(started, gone).await?;
        ended
    } else {
        gone.await?
    };
    // What that took.
    let after = stage.cpu().await?;
    let records = topic.records().await? - records_before;
    Ok(Rate {
        per_second: per_second(rows, ended.duration_since(begun)),
        resident_bytes: Some(stage.resident_peak_bytes(&relay.names()).await?),
        sent_twice: Some(records.saturating_sub(rows)),
        cpu: Some(after.since(&before)),
        ..Rate::default()
    })
}

/// Waits until the topic has `records` records and the outbox has no row.
async fn gone(topic: &Topic, records: u64, conn: &mut Session) -> anyhow::Result<Instant> {
    let published = async || Ok(topic.records().await? >= records);
    wait_until("all events are in the topic", WITHIN, published).await?;
    wait_until("the outbox is empty", WITHIN, async || is_empty(conn).await).await
}

/// Processes that are paused where they are, until this is dropped.
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
