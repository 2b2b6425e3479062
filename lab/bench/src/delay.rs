//! How long something takes at a steady rate.

use std::fmt::Display;
use std::time::Duration;

use serde::Serialize;

use super::cpu::Shares;
use super::stats::{Latency, Measured, Series, Spread, micros, millis, serialize_micros};
use super::table::Table;

/// What one round found.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Delay {
    pub latency: Latency,
    /// How long after its time in the schedule the latest one was sent.
    #[serde(rename = "late_max_us", serialize_with = "serialize_micros")]
    pub late_max: Duration,
    #[serde(rename = "cpu_percent_of_a_core")]
    pub cpu: Shares,
}

impl Measured for Delay {
    fn figure(&self) -> u64 {
        micros(self.latency.p99)
    }
}

/// The unit of [`Measured::figure`].
pub(super) const UNIT: &str = "µs (p99)";

/// In milliseconds; `late` is the heading of the column that says how well the schedule was kept.
pub(super) fn table<C: Display>(
    title: &str,
    late: &'static str,
    all: &[Series<C, Delay>],
    notes: Vec<String>,
) -> Table {
    let rows = all.iter().filter_map(|series| {
        let spread = |of: fn(&Delay) -> Duration| Spread::of(series.rounds.iter().map(of));
        let p99 = spread(|round| round.latency.p99)?;
        Some(vec![
            series.case.to_string(),
            millis(spread(|round| round.latency.p50)?.median),
            millis(p99.median),
            format!("{} .. {}", millis(p99.min), millis(p99.max)),
            millis(spread(|round| round.latency.max)?.median),
            millis(spread(|round| round.late_max)?.median),
        ])
    });
    Table {
        title: title.to_owned(),
        columns: vec!["mode", "p50", "p99", "p99 min .. max", "max", late],
        rows: rows.collect(),
        notes,
    }
}
