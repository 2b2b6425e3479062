//! Figures made of measurements: pure, and in integers.

use std::fmt::{self, Display};
use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Latency {
    /// Half of them were at most this.
    #[serde(rename = "p50_us", serialize_with = "serialize_micros")]
    pub p50: Duration,
    /// 99 in a hundred were at most this.
    #[serde(rename = "p99_us", serialize_with = "serialize_micros")]
    pub p99: Duration,
    /// All were at most this.
    #[serde(rename = "max_us", serialize_with = "serialize_micros")]
    pub max: Duration,
}

impl Latency {
    /// Of `latencies`, in any order; none of none. Percentiles are those of the nearest rank.
    pub(super) fn of(mut latencies: Vec<Duration>) -> Option<Self> {
        latencies.sort_unstable();
        let at = |percent: usize| {
            let rank = (latencies.len() * percent).div_ceil(100);
            latencies.get(rank.checked_sub(1)?).copied()
        };
        Some(Self {
            p50: at(50)?,
            p99: at(99)?,
            max: at(100)?,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spread<T> {
    /// The one in the middle; of an even number, the lower of the two.
    pub median: T,
    pub min: T,
    pub max: T,
}

impl<T: Copy + Ord> Spread<T> {
    /// Of the runs' figures, in any order; none of none.
    pub(super) fn of(runs: impl IntoIterator<Item = T>) -> Option<Self> {
        let mut runs: Vec<T> = runs.into_iter().collect();
        runs.sort_unstable();
        Some(Self {
            median: *runs.get(runs.len().checked_sub(1)? / 2)?,
            min: *runs.first()?,
            max: *runs.last()?,
        })
    }
}

/// A case with what was measured in each round.
pub(super) struct Series<C, M> {
    pub(super) case: C,
    pub(super) rounds: Vec<M>,
}

/// What was measured in one round.
pub(super) trait Measured: Serialize {
    /// The number whose median is reported.
    fn figure(&self) -> u64;
}

impl<C: Display, M: Measured> Series<C, M> {
    pub(super) const fn new(case: C) -> Self {
        Self {
            case,
            rounds: Vec::new(),
        }
    }

    /// That of each round.
    pub(super) fn figures(&self) -> impl Iterator<Item = u64> {
        self.rounds.iter().map(Measured::figure)
    }

    pub(super) fn spread(&self) -> Option<Spread<u64>> {
        Spread::of(self.figures())
    }

    /// The round that has the median.
    pub(super) fn median_round(&self) -> Option<&M> {
        let median = self.spread()?.median;
        self.rounds.iter().find(|round| round.figure() == median)
    }

    /// The case with every number of every round.
    pub(super) fn to_json(&self) -> Value {
        json!({ "case": self.case.to_string(), "rounds": self.rounds })
    }
}

/// Every number of every round.
pub(super) fn to_json<C: Display, M: Measured>(all: &[Series<C, M>]) -> Vec<Value> {
    all.iter().map(Series::to_json).collect()
}

/// What `figure` reads from the rounds of `case`; nothing if the case was not measured.
pub(super) fn of_case<C: PartialEq, M, T>(
    all: &[Series<C, M>],
    case: &C,
    figure: impl Fn(&M) -> T,
) -> Vec<T> {
    let series = all.iter().filter(|series| series.case == *case);
    let rounds = series.flat_map(|series| &series.rounds);
    rounds.map(figure).collect()
}

/// How many a second, rounded down; 0 where no time has passed.
pub(super) fn per_second(count: u64, time: Duration) -> u64 {
    let nanos = u128::from(count) * 1_000_000_000;
    let rate = nanos.checked_div(time.as_nanos()).unwrap_or(0);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

/// One figure divided by another, in hundredths, rounded down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ratio {
    hundredths: u128,
}

impl Ratio {
    /// Such as 250 for 2.50.
    pub(super) const fn hundredths(hundredths: u128) -> Self {
        Self { hundredths }
    }

    /// None where the divisor is zero.
    pub(super) fn of(dividend: impl Into<u128>, divisor: impl Into<u128>) -> Option<Self> {
        let hundredths = (dividend.into() * 100).checked_div(divisor.into())?;
        Some(Self { hundredths })
    }
}

impl Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.hundredths / 100, self.hundredths % 100)
    }
}

impl Serialize for Ratio {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let number: f64 = self
            .to_string()
            .parse()
            .expect("a ratio is written as a decimal number");
        serializer.serialize_f64(number)
    }
}

/// 1234567 as "1,234,567".
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub(super) fn millis(time: Duration) -> String {
    let hundredths = time.as_micros() / 10;
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

pub(super) fn serialize_micros<S: Serializer>(
    time: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(micros(*time))
}

pub(super) fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn percentiles_are_those_of_the_nearest_rank() {
        let latency = Latency::of((1..=200).rev().map(ms).collect()).unwrap();
        assert_eq!((latency.p50, latency.p99), (ms(100), ms(198)));
        assert_eq!(latency.max, ms(200));
        let one = Latency::of(vec![ms(7)]).unwrap();
        assert_eq!([one.p50, one.p99, one.max], [ms(7); 3]);
        assert_eq!(Latency::of(Vec::new()), None);
    }

    #[test]
    fn the_median_is_the_run_in_the_middle() {
        let spread = Spread::of([9, 1, 5]).unwrap();
        assert_eq!((spread.median, spread.min, spread.max), (5, 1, 9));
        assert_eq!(Spread::of([4, 1, 3, 2]).unwrap().median, 2);
        assert_eq!(Spread::<u64>::of([]), None);
    }

    #[test]
    fn rates_and_ratios_are_rounded_down() {
        assert_eq!(per_second(300_000, ms(7_000)), 42_857);
        assert_eq!(per_second(300_000, Duration::ZERO), 0);
        assert_eq!(Ratio::of(2_999_u64, 1_000_u64).unwrap().to_string(), "2.99");
        assert_eq!(Ratio::of(7_u64, 100_u64).unwrap().to_string(), "0.07");
        assert_eq!(Ratio::of(1_u64, 0_u64), None);
        assert!(Ratio::of(10_u64, 1_u64) > Ratio::of(9_u64, 1_u64));
    }

    #[test]
    fn figures_are_written_for_people() {
        assert_eq!(
            [
                grouped(7),
                grouped(1_234),
                grouped(123_456),
                grouped(1_000_000)
            ],
            ["7", "1,234", "123,456", "1,000,000"]
        );
        assert_eq!(millis(Duration::from_micros(12_345)), "12.34");
        assert_eq!(megabytes(13_000_001), 14);
    }
}
