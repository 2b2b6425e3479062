//! Whether a consumer stands still: it has records to read, and its offsets do not move.
//!
//! librdkafka can be assigned and silent: when it can't decompress a topic, or when a topic was deleted and created
//! again. It reports no error then, so the broker is asked what there is to read. Pure: looks are values.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::lag::PartitionLag;

/// The partitions of a consumer, over several looks.
#[derive(Debug, Default)]
pub(crate) struct StallWatch {
    partitions: HashMap<i32, Watched>,
}

#[derive(Debug)]
struct Watched {
    lag: PartitionLag,
    /// When `lag.end` was seen first.
    end_seen: Instant,
    /// Since when there are records to read, and none was.
    since: Instant,
}

/// A partition that stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stall {
    pub(crate) partition: i32,
    pub(crate) records: i64,
    pub(crate) lasts: Duration,
}

impl StallWatch {
    /// Takes a look into account, and returns the partition that has stood still longest, if any does.
    ///
    /// `at_end` says when the consumer last found that it had read a partition to its end: the last offsets of a
    /// partition need not hold a record (markers of transactions), and a group never commits those.
    pub(crate) fn look(
        &mut self,
        now: Instant,
        lags: &[PartitionLag],
        at_end: &HashMap<i32, Instant>,
    ) -> Option<Stall> {
        self.partitions
            .retain(|partition, _| lags.iter().any(|lag| lag.partition == *partition));
        for &lag in lags {
            let watched = self.partitions.entry(lag.partition).or_insert(Watched {
                lag,
                end_seen: now,
                since: now,
            });
            if watched.lag.end != lag.end {
                watched.end_seen = now;
            }
            let read_to_end = at_end
                .get(&lag.partition)
                .is_some_and(|at| *at > watched.end_seen);
            if lag.records() == 0 || lag.next != watched.lag.next || read_to_end {
                watched.since = now;
            }
            watched.lag = lag;
        }
        let stalls = self.partitions.values().map(|watched| Stall {
            partition: watched.lag.partition,
            records: watched.lag.records(),
            lasts: now.duration_since(watched.since),
        });
        stalls
            .filter(|stall| !stall.lasts.is_zero())
            .max_by_key(|stall| stall.lasts)
    }

    /// Forgets what was seen: while no broker answers, nothing can move.
    pub(crate) fn forget(&mut self) {
        self.partitions.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lag(next: i64, end: i64) -> [PartitionLag; 1] {
        [PartitionLag {
            partition: 3,
            next,
            end,
        }]
    }

    fn lasts(stall: Option<Stall>) -> u64 {
        stall.map_or(0, |stall| stall.lasts.as_secs())
    }

    #[test]
    fn a_partition_stands_still_while_it_has_records_and_its_offset_does_not_move() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let none = HashMap::new();
        let mut watch = StallWatch::default();
        assert_eq!(
            watch.look(at(0), &lag(5, 5), &none),
            None,
            "nothing to read"
        );
        assert_eq!(lasts(watch.look(at(10), &lag(5, 7), &none)), 10);
        assert_eq!(lasts(watch.look(at(15), &lag(6, 7), &none)), 0, "it moves");
        assert_eq!(lasts(watch.look(at(20), &lag(6, 9), &none)), 5);
        let stall = watch.look(at(45), &lag(6, 9), &none).unwrap();
        assert_eq!((stall.partition, stall.records), (3, 3));
        assert_eq!(stall.lasts, Duration::from_secs(30));
        assert_eq!(
            watch.look(at(50), &[], &none),
            None,
            "another member has it"
        );
        assert_eq!(watch.look(at(51), &lag(6, 9), &none), None, "it came back");
    }

    #[test]
    fn what_was_read_to_its_end_does_not_stand_still() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut watch = StallWatch::default();
        assert_eq!(watch.look(at(0), &lag(6, 7), &HashMap::new()), None);
        let before = HashMap::from([(3, begin)]);
        assert_eq!(lasts(watch.look(at(10), &lag(6, 7), &before)), 10);
        let after = HashMap::from([(3, at(12))]);
        assert_eq!(watch.look(at(20), &lag(6, 7), &after), None);
        assert_eq!(
            lasts(watch.look(at(30), &lag(6, 8), &after)),
            10,
            "one more record"
        );
    }
}
