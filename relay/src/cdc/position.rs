//! Positions in the write-ahead log, apart by what is known of everything before them.

pub use pgwire_replication::Lsn;

/// All before it has arrived here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Received(pub(super) Lsn);

/// All before it is acknowledged by Kafka and deleted, or was left in the table for a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Published(Lsn);

/// PostgreSQL was told that it may forget all before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Confirmed(Lsn);

impl Received {
    /// To be called when everything up to here was carried.
    pub(super) const fn carried(self) -> Published {
        Published(self.0)
    }
}

impl Published {
    /// What PostgreSQL may be told.
    pub(super) const fn confirm(self) -> Confirmed {
        Confirmed(self.0)
    }
}

impl Confirmed {
    pub(super) const fn lsn(self) -> Lsn {
        self.0
    }
}
