//! How to measure: which cases, in how many rounds.

use std::fmt::Display;
use std::time::Duration;

use anyhow::Context as _;
use lab_terminal as terminal;

use super::stage::Stage;
use super::stats::{Measured, Series, grouped};

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) runs: u32,
    pub(super) time: Duration,
    pub(super) only: Vec<String>,
    pub(super) quick: bool,
    /// The largest size of a benchmark that measures several.
    pub(super) largest: u32,
}

impl Plan {
    /// Measures each of `cases` that is wanted, in rounds, so that a slow moment of the machine meets all cases.
    /// `one` measures a case once; what it has started and copied is removed afterwards.
    pub(super) async fn measure<C: Display, M: Measured>(
        &self,
        stage: &mut Stage<'_>,
        cases: impl IntoIterator<Item = C>,
        unit: &str,
        mut one: impl AsyncFnMut(&mut Stage<'_>, &C) -> anyhow::Result<M>,
    ) -> anyhow::Result<Vec<Series<C, M>>> {
        let cases = cases.into_iter();
        let wanted = cases.filter(|case| self.wants(&case.to_string()));
        let mut all: Vec<Series<C, M>> = wanted.map(Series::new).collect();
        for round in 1..=self.runs {
            for series in &mut all {
                let case = series.case.to_string();
                let measured = one(stage, &series.case).await;
                let measured = measured.with_context(|| case.clone())?;
                stage.clear().await?;
                let figure = grouped(measured.figure());
                terminal::line(format_args!(
                    "round {round} of {}: {case}: {figure} {unit}",
                    self.runs
                ));
                series.rounds.push(measured);
            }
        }
        Ok(all)
    }

    /// The sizes of a full run or of a quick one: the first, and the others up to the largest that is wanted.
    pub(super) fn sizes(&self, full: [u32; 3], quick: [u32; 2]) -> Vec<u32> {
        let sizes: &[u32] = if self.quick { &quick } else { &full };
        let kept = sizes.iter().enumerate();
        kept.filter(|(nth, size)| *nth == 0 || **size <= self.largest)
            .map(|(_, size)| *size)
            .collect()
    }

    /// Whether the measurement `name` is wanted.
    pub(super) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| name.contains(part.as_str()))
    }
}
