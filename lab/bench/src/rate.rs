//! How many a second, with what that took: what most benchmarks measure.

use std::fmt::Display;

use serde::Serialize;

use super::cpu::Shares;
use super::stats::{Latency, Measured, Series, Spread, grouped, megabytes, millis};
use super::table::Table;

/// What one round found. A benchmark leaves out what it does not measure.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Rate {
    pub per_second: u64,
    pub latency: Option<Latency>,
    /// The peaks of the measured processes, added up.
    pub resident_bytes: Option<u64>,
    /// Events that reached the topic, without the first of each.
    pub sent_twice: Option<u64>,
    #[serde(rename = "cpu_percent_of_a_core")]
    pub cpu: Option<Shares>,
}

impl Measured for Rate {
    fn figure(&self) -> u64 {
        self.per_second
    }
}

pub(super) type RateSeries<C> = Series<C, Rate>;

/// What a note says of the column of the memory.
pub(super) const RESIDENT: &str = "Resident: the peak, median of the rounds.";

/// The rates, and the other columns as far as they were measured.
pub(super) fn table<C: Display>(
    title: &str,
    who: &'static str,
    all: &[RateSeries<C>],
    notes: Vec<String>,
) -> Table {
    type Column<C> = (&'static str, fn(&RateSeries<C>) -> Option<String>);
    let mut columns: Vec<Column<C>> = vec![
        ("median", |series| Some(grouped(series.spread()?.median))),
        ("min .. max", |series| {
            let spread = series.spread()?;
            Some(format!(
                "{} .. {}",
                grouped(spread.min),
                grouped(spread.max)
            ))
        }),
        ("p50 ms", |series| {
            Some(millis(series.median_round()?.latency?.p50))
        }),
        ("p99 ms", |series| {
            Some(millis(series.median_round()?.latency?.p99))
        }),
        ("resident MB", |series| {
            let bytes = series.rounds.iter().filter_map(|rate| rate.resident_bytes);
            Some(grouped(megabytes(Spread::of(bytes)?.median)))
        }),
        ("sent twice", |series| {
            let repeated = series.rounds.iter().filter_map(|rate| rate.sent_twice);
            repeated.max().map(grouped)
        }),
    ];
    columns.retain(|(_, cell)| all.iter().any(|series| cell(series).is_some()));
    let rows = all.iter().map(|series| {
        let cells = columns.iter().map(|(_, cell)| cell(series));
        let cells = cells.map(|cell| cell.unwrap_or_else(|| "-".to_owned()));
        std::iter::once(series.case.to_string())
            .chain(cells)
            .collect()
    });
    Table {
        title: title.to_owned(),
        columns: std::iter::once(who)
            .chain(columns.iter().map(|(name, _)| *name))
            .collect(),
        rows: rows.collect(),
        notes,
    }
}
