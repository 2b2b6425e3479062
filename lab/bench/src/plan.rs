//! How to measure.

use std::fmt::Display;
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) runs: u32,
    pub(super) time: Duration,
    pub(super) only: Vec<String>,
    pub(super) quick: bool,
}

/// A case with what was measured in each round.
pub(super) struct Series<C, M> {
    pub(super) case: C,
    pub(super) rounds: Vec<M>,
}

impl Plan {
    /// Those of `cases` that are wanted.
    pub(super) fn wanted<C: Display>(
        &self,
        cases: impl IntoIterator<Item = C>,
    ) -> anyhow::Result<Vec<C>> {
        let cases = cases.into_iter();
        let wanted: Vec<C> = cases.filter(|case| self.wants(&case.to_string())).collect();
        anyhow::ensure!(!wanted.is_empty(), "no measurement has such a name");
        Ok(wanted)
    }

    /// A series, with nothing measured yet, for each of `cases` that is wanted.
    pub(super) fn series<C: Display, M>(
        &self,
        cases: impl IntoIterator<Item = C>,
    ) -> anyhow::Result<Vec<Series<C, M>>> {
        let cases = self.wanted(cases)?.into_iter();
        let series = cases.map(|case| Series {
            case,
            rounds: Vec::new(),
        });
        Ok(series.collect())
    }

    /// Whether the measurement `name` is wanted.
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| name.contains(part.as_str()))
    }
}
