//! How to measure.

use std::time::Duration;

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) runs: u32,
    pub(super) time: Duration,
    pub(super) only: Vec<String>,
    pub(super) quick: bool,
}

impl Plan {
    /// Whether the measurement `name` is wanted.
    pub(super) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| name.contains(part.as_str()))
    }
}
