//! Which transactions a sweep of the table has covered: the stream brings them too, and they are left out.
//!
//! Pure: a snapshot is a value, as `pg_current_snapshot` writes it.

use pgwire_replication::Lsn;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Transaction {
    /// Its number, the lower half.
    pub(super) xid: u32,
    pub(super) commit: Lsn,
}

/// The transactions whose effects a query sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// All below are seen.
    xmin: u64,
    /// None from here on is seen.
    xmax: u64,
    /// Those between that are not, ascending.
    running: Vec<u64>,
}

impl Snapshot {
    /// Reads `xmin:xmax:xip,xip,...`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let (xmin, xmax, running) = (parts.next()?, parts.next()?, parts.next()?);
        let running = running.split(',').filter(|xid| !xid.is_empty());
        let mut running: Vec<u64> = running.map(str::parse).collect::<Result<_, _>>().ok()?;
        running.sort_unstable();
        Some(Self {
            xmin: xmin.parse().ok()?,
            xmax: xmax.parse().ok()?,
            running,
        })
    }

    /// Whether every transaction up to the number `xid` has ended. (That another snapshot's `xmax` is
    /// reached says less: a transaction that runs may have a number beyond it.)
    pub(super) const fn outlives(&self, xid: u64) -> bool {
        self.xmin > xid
    }

    /// Whether the effects of the transaction `xid` are seen, if it was committed and lies within 2^31 transactions
    /// of the snapshot (numbers wrap around).
    pub(super) fn sees(&self, xid: u32) -> bool {
        let [.., b3, b2, b1, b0] = self.xmax.to_be_bytes();
        let ahead = xid.wrapping_sub(u32::from_be_bytes([b3, b2, b1, b0]));
        let xid = if ahead < 1 << 31 {
            return false;
        } else {
            self.xmax.wrapping_sub(u64::from(ahead.wrapping_neg()))
        };
        xid < self.xmin || self.running.binary_search(&xid).is_err()
    }
}

/// What a sweep has covered: everything in the snapshot that it took before it read the table for the
/// last time, but for the events of blocked keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SweepSnapshot {
    pub(super) snapshot: Snapshot,
    /// Whatever it saw was committed before this position.
    pub(super) until: Lsn,
}

impl SweepSnapshot {
    /// Whether the transaction's events are no longer the stream's business.
    pub(super) fn includes(&self, transaction: Transaction) -> bool {
        transaction.commit < self.until && self.snapshot.sees(transaction.xid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_sees_what_was_committed_when_it_was_taken() {
        let snapshot = Snapshot::parse("100:105:101,103").unwrap();
        let seen = (98..108).filter(|xid| snapshot.sees(*xid));
        assert_eq!(seen.collect::<Vec<_>>(), [98, 99, 100, 102, 104]);
        let none_runs = Snapshot::parse("7:7:").unwrap();
        assert!(none_runs.sees(6) && !none_runs.sees(7));
    }

    #[test]
    fn a_snapshot_outlives_a_number_once_all_up_to_it_have_ended() {
        for (snapshot, outlives) in [
            ("103:110:103,107", false),
            ("105:105:", false),
            ("105:107:105", false),
            ("106:106:", true),
        ] {
            let snapshot = Snapshot::parse(snapshot).unwrap();
            assert_eq!(snapshot.outlives(105), outlives, "{snapshot:?}");
        }
    }

    #[test]
    fn numbers_that_have_wrapped_around_are_told_apart() {
        let snapshot = Snapshot::parse("4294967290:4294967300:4294967295").unwrap();
        assert!(snapshot.sees(u32::MAX - 10), "before the wrap");
        assert!(!snapshot.sees(u32::MAX), "running across the wrap");
        assert!(snapshot.sees(3) && !snapshot.sees(4), "after the wrap");
    }

    #[test]
    fn what_is_not_a_snapshot_is_none() {
        for text in ["", "1", "1:2", "a:2:", "1:2:x", "1:-2:"] {
            assert_eq!(Snapshot::parse(text), None, "{text}");
        }
    }

    #[test]
    fn nothing_that_committed_after_a_sweep_is_covered_by_it() {
        let swept = SweepSnapshot {
            snapshot: Snapshot::parse("100:100:").unwrap(),
            until: Lsn(1_000),
        };
        let at = |commit| Transaction {
            xid: 99,
            commit: Lsn(commit),
        };
        assert!(swept.includes(at(999)));
        assert!(!swept.includes(at(1_000)), "a number used again much later");
    }
}
