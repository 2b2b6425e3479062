//! What the project wants to reach, and what was reached.

use serde_json::{Value, json};

use super::stats::{Ratio, Spread};
use super::table::Table;

/// A ratio of two figures that is to be at least as large as the goal.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub what: String,
    goal: Ratio,
    /// The ratio of each round; empty if one of the two was not measured.
    rounds: Vec<Ratio>,
}

impl Target {
    /// With the ratio of our figure to the peer's in each round; the goal is in hundredths.
    pub(super) fn new<T: Into<u128>>(
        what: impl Into<String>,
        goal_hundredths: u128,
        ours: impl IntoIterator<Item = T>,
        peers: impl IntoIterator<Item = T>,
    ) -> Self {
        let rounds = ours.into_iter().zip(peers);
        Self {
            what: what.into(),
            goal: Ratio::hundredths(goal_hundredths),
            rounds: rounds
                .filter_map(|(ours, peer)| Ratio::of(ours, peer))
                .collect(),
        }
    }

    /// The same target as one of several benchmarks.
    pub(super) fn of_benchmark(&self, name: &str) -> Self {
        Self {
            what: format!("{name}: {}", self.what),
            ..self.clone()
        }
    }

    fn verdict(&self) -> &'static str {
        match Spread::of(self.rounds.iter().copied()) {
            Some(reached) if reached.median >= self.goal => "reached",
            Some(_) => "short",
            None => "not measured",
        }
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "ratio": self.what,
            "goal": self.goal,
            "rounds": self.rounds,
            "verdict": self.verdict(),
        })
    }
}

pub(super) fn table(title: &str, targets: &[Target]) -> Table {
    let rows = targets.iter().map(|target| {
        let reached = Spread::of(target.rounds.iter().copied());
        let median = reached.map(|reached| reached.median.to_string());
        let range = reached.map(|reached| format!("{} .. {}", reached.min, reached.max));
        vec![
            target.what.clone(),
            median.unwrap_or_else(|| "-".to_owned()),
            range.unwrap_or_else(|| "-".to_owned()),
            target.goal.to_string(),
            target.verdict().to_owned(),
        ]
    });
    Table {
        title: title.to_owned(),
        columns: vec!["ratio", "median", "min .. max", "goal", ""],
        rows: rows.collect(),
        notes: vec![
            "A ratio is made of the two figures of one round; the median is that of the rounds. The goal is the least \
             that is wanted."
                .to_owned(),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_that_is_short_of_its_target_is_said_to_be() {
        let targets = [
            Target::new("a to b", 250, [249_u64, 300, 240], [100_u64, 100, 120]),
            Target::new("b to c", 249, [249_u64], [100_u64]),
            Target::new("c to d", 100, Vec::<u64>::new(), [1_u64]),
        ];
        insta::assert_snapshot!(table("Ratios", &targets).to_terminal());
        let json = targets[0].to_json();
        assert_eq!(json["rounds"], json!([2.49, 3.0, 2.0]));
    }
}
