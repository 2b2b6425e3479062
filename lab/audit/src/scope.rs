//! Which payments an audit is about, and when it loses patience.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

/// Which payments, and from when on a wait counts as damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Scope {
    /// Payments accepted from then on, by the clock of wallet-api, which is in their ids; all, without it. The ledger
    /// is always summed up over all payments.
    pub since: Option<DateTime<Utc>>,
    /// A payment that is on its way for longer is stuck.
    #[serde(rename = "stuck_after_ms", serialize_with = "as_ms")]
    pub stuck_after: Duration,
    /// A payment that is nowhere for longer is lost. Only what is written to the database and to Kafka one after the
    /// other can be nowhere for a moment and not be lost: the pattern dual-write.
    #[serde(rename = "lost_after_ms", serialize_with = "as_ms")]
    pub lost_after: Duration,
    /// How many payments the provider's list had at `since`: tells the age of a payment whose id has no time. Without it,
    /// those are audited only without a `since`.
    #[serde(skip)]
    pub at_provider_before: Option<u64>,
}

impl Scope {
    /// Patience enough for the back-off of a bill.
    pub const STUCK_AFTER: Duration = Duration::from_secs(15 * 60);
    /// Patience enough for a client that publishes after its commit.
    pub const LOST_AFTER: Duration = Duration::from_secs(3);

    /// The least id that a payment of this scope can have: ids are UUIDs of version 7, and begin with the time.
    pub fn first_id(&self) -> Uuid {
        let ms = self.since_ms().unwrap_or(0);
        Uuid::from_u128(u128::from(ms) << 80)
    }

    /// Unix time in milliseconds.
    pub fn since_ms(&self) -> Option<u64> {
        let since = self.since?;
        Some(u64::try_from(since.timestamp_millis()).unwrap_or(0))
    }

    /// Whether a payment with that id belongs to it; `is_later` tells whether that was seen after `since`, and counts only
    /// for an id that has no time.
    pub fn has(&self, id: Uuid, is_later: bool) -> bool {
        match id.get_version_num() {
            // wallet-api makes no others.
            7 | 8 => id >= self.first_id(),
            _ => self.since.is_none() || is_later,
        }
    }
}

impl Default for Scope {
    fn default() -> Self {
        Self {
            since: None,
            stuck_after: Self::STUCK_AFTER,
            lost_after: Self::LOST_AFTER,
            at_provider_before: None,
        }
    }
}

/// The time in a UUID of version 7, Unix milliseconds.
pub(crate) fn ms_of(id: Uuid) -> u64 {
    u64::try_from(id.as_u128() >> 80).unwrap_or(u64::MAX)
}

fn as_ms<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_id_of_a_moment_is_the_least_that_can_be_made_then() {
        let since = "2026-01-02T03:04:05.678Z".parse().unwrap();
        let scope = Scope {
            since: Some(since),
            ..Scope::default()
        };
        let ms = scope.since_ms().unwrap();
        let at = |ms: u64| {
            let (seconds, nanos) = (ms / 1_000, u32::try_from(ms % 1_000 * 1_000_000).unwrap());
            Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanos))
        };
        assert!(scope.has(at(ms), false));
        assert!(!scope.has(at(ms - 1), true));
        assert_eq!(ms_of(at(ms)), ms);
        assert!(Scope::default().has(Uuid::nil(), false));
    }

    #[test]
    fn an_id_without_a_time_is_of_the_scope_if_it_was_seen_after_its_beginning() {
        let scope = Scope {
            since: Some("2026-01-02T03:04:05Z".parse().unwrap()),
            ..Scope::default()
        };
        let random: Uuid = "5e0c3d4a-1111-4222-8333-444455556666".parse().unwrap();
        assert!(scope.has(random, true));
        assert!(!scope.has(random, false));
    }
}
