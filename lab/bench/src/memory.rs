//! `lab bench memory`: how much memory the relay needs for one huge transaction, in mode cdc.

use std::fmt;

use lab_stack::relay_mode::RelayMode;

use super::plan::Plan;
use super::plot::Plot;
use super::rate;
use super::relay::backlog::Backlog;
use super::relay::drain;
use super::relay::running::at_work;
use super::relay_under_test::RelayState;
use super::report::Report;
use super::stage::Stage;
use super::stats::{self, grouped, megabytes};
use super::targets::Target;

/// Events of the transaction.
const ROWS: u32 = 1_000_000;

/// What the relay's peak is to stay below.
const BYTES_MAX: u64 = 128_000_000;

struct Case {
    rows: u32,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = grouped(self.rows.into());
        write!(f, "cdc, {rows} events in one transaction")
    }
}

/// Measures it in rounds.
pub(super) async fn measure(stage: &mut Stage<'_>, plan: &Plan) -> anyhow::Result<Report> {
    let rows = if plan.quick { 1_000 } else { ROWS }.min(plan.largest);
    let template = stage.template("wallet-api").await?;
    let topic = stage.new_topics().await?;
    let one = async |stage: &mut Stage<'_>, case: &Case| {
        let copy = stage.copy(&template).await?;
        let relay = at_work(stage, RelayMode::Cdc, &copy).await?;
        let backlog = Backlog::OneTransaction(case.rows);
        let state = RelayState::Running;
        let rate = drain::measure(stage, &copy, &topic, &relay, state, backlog).await?;
        anyhow::ensure!(
            rate.sent_twice == Some(0),
            "events were sent twice: {:?}",
            rate.sent_twice
        );
        Ok(rate)
    };
    let all = plan
        .measure(stage, [Case { rows }], "events/s", one)
        .await?;
    let rounds = all.iter().flat_map(|series| &series.rounds);
    let peaks = rounds.filter_map(|round| round.resident_bytes);
    let target = Target::new(
        format!("{} MB : peak of the relay's memory", megabytes(BYTES_MAX)),
        100,
        std::iter::repeat(BYTES_MAX),
        peaks,
    );
    let notes = vec![
        "Resident: the relay's peak, median of the rounds. Sent twice: the maximum of all rounds."
            .to_owned(),
    ];
    Ok(Report {
        title: "Memory for one huge transaction",
        about: ABOUT,
        size: format!("{} events", grouped(rows.into())),
        plot: Plot::of(
            "Peak of the relay's resident memory, in MB",
            |bytes| grouped(megabytes(bytes)),
            &all,
            |round| round.resident_bytes.unwrap_or_default(),
        ),
        tables: vec![rate::table("One transaction", "who", &all, notes)],
        targets: vec![target],
        series: stats::to_json(&all),
    })
}

const ABOUT: &str = "\
A relay in mode cdc is at work when one transaction commits all the events. From the return of the commit until the topic has all events and \
the outbox has none. A measurement in which an event is missing or was sent twice fails: the topic must have exactly as many \
records more as there were events. Kafka acknowledges each one before its row is deleted.";
