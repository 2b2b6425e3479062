//! What the project wants to reach, and what was reached.

use super::stats::{Ratio, Spread};
use super::table::Table;

#[derive(Debug, Clone)]
pub(super) struct Target {
    pub what: String,
    /// At least, in hundredths.
    pub hundredths: u128,
}

/// The ratios of the rounds for each target. None: one of the two was not measured.
pub(super) fn table(targets: Vec<(Target, Option<Spread<Ratio>>)>) -> Table {
    let rows = targets.into_iter().map(|(target, reached)| {
        let wanted = Ratio::hundredths(target.hundredths);
        let (median, range, verdict) = match reached {
            Some(reached) => (
                reached.median.to_string(),
                format!("{} .. {}", reached.min, reached.max),
                verdict(reached.median, wanted),
            ),
            None => ("-".to_owned(), "-".to_owned(), "not measured"),
        };
        vec![
            target.what,
            median,
            range,
            wanted.to_string(),
            verdict.to_owned(),
        ]
    });
    Table {
        title: "Ratios".to_owned(),
        columns: vec!["ratio", "median", "min .. max", "wanted", ""],
        rows: rows.collect(),
        notes: vec![
            "A ratio is made of the two figures of one round; the median is that of the rounds."
                .to_owned(),
        ],
    }
}

fn verdict(reached: Ratio, wanted: Ratio) -> &'static str {
    if reached >= wanted {
        "reached"
    } else {
        "short"
    }
}

/// The ratio of each round that has both figures.
pub(super) fn of_rounds<T: Into<u128>>(
    ours: impl IntoIterator<Item = Option<T>>,
    peers: impl IntoIterator<Item = Option<T>>,
) -> Option<Spread<Ratio>> {
    let rounds = ours.into_iter().zip(peers);
    Spread::of(rounds.filter_map(|(ours, peer)| Ratio::of(ours?, peer?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_made_of_figures_of_one_round() {
        let ours = [Some(300_u64), None, Some(100), Some(90)];
        let peers = [Some(100_u64), Some(1), None, Some(30)];
        let ratio = of_rounds(ours, peers).unwrap();
        assert_eq!(ratio.min.to_string(), "3.00");
        assert_eq!(ratio.max.to_string(), "3.00");
        assert_eq!(of_rounds([None::<u64>], [Some(1)]), None);
    }

    #[test]
    fn a_ratio_that_is_short_of_its_target_is_said_to_be() {
        let target = |what: &str, hundredths| Target {
            what: what.to_owned(),
            hundredths,
        };
        let reached = of_rounds([Some(249_u64)], [Some(100_u64)]);
        let table = table(vec![
            (target("a to b", 250), reached),
            (target("b to c", 249), reached),
            (target("c to d", 100), None),
        ]);
        insta::assert_snapshot!(table.to_terminal());
    }
}
