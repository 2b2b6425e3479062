//! Keys whose next event Kafka did not take this time, in mode cdc: they are left alone for a while, and
//! their events wait in the table.
//!
//! In memory only: a relay that starts anew sweeps the table and finds out by itself.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use chassis::Backoff;

/// How long to leave a key alone.
const RETRY: Backoff = Backoff {
    first: Duration::from_secs(1),
    max: Duration::from_secs(60),
};

/// Keys at the most. More than these wait when something is wrong with the topic rather than with the
/// events: relaying then goes at the pace of sweeps.
const KEYS_MAX: usize = 1_000;

/// The keys whose next event was not taken.
#[derive(Debug, Default)]
pub(super) struct WaitingKeys(HashMap<String, Waiting>);

#[derive(Debug)]
struct Waiting {
    tries: u32,
    until: Instant,
}

impl WaitingKeys {
    /// The keys to be left alone now.
    pub(super) fn left_alone(&self, now: Instant) -> Vec<String> {
        let left_alone = self.0.iter().filter(|(_, waiting)| now < waiting.until);
        left_alone.map(|(key, _)| key.clone()).collect()
    }

    /// Whether the key's next event was not taken: those behind it wait.
    pub(super) fn contains(&self, key: &str) -> bool {
        !self.0.is_empty() && self.0.contains_key(key)
    }

    /// Whether it is time to try one of them.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.0.values().any(|waiting| waiting.until <= now)
    }

    /// Forgets those that were to be tried by `now` and were not heard of since: their events are gone.
    pub(super) fn forget_due(&mut self, now: Instant) {
        self.0.retain(|_, waiting| now < waiting.until);
    }

    /// Kafka did not take the key's next event. One that was not due is as it was.
    pub(super) fn not_taken(&mut self, key: &str, now: Instant) {
        let known = self.0.get(key);
        if known.is_some_and(|waiting| now < waiting.until) {
            return;
        }
        let tries = known.map_or(0, |waiting| waiting.tries) + 1;
        if tries == 1 && self.0.len() >= KEYS_MAX {
            return;
        }
        let until = now + RETRY.ceiling(tries);
        self.0.insert(key.to_owned(), Waiting { tries, until });
    }

    /// The key waits no longer: its next event is published or parked.
    pub(super) fn forget(&mut self, key: &str) {
        if !self.0.is_empty() {
            self.0.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_left_alone_for_longer_and_longer_up_to_a_minute() {
        let mut keys = WaitingKeys::default();
        let mut now = Instant::now();
        for pause_s in [1, 2, 4, 8, 16, 32, 60, 60] {
            keys.not_taken("k", now);
            assert_eq!(keys.left_alone(now), ["k"]);
            assert!(!keys.is_due(now));
            // Those behind it don't make it longer.
            keys.not_taken("k", now);
            now += Duration::from_secs(pause_s);
            assert!(keys.left_alone(now).is_empty(), "after {pause_s} s");
            assert!(keys.is_due(now) && keys.contains("k"));
        }
    }

    #[test]
    fn a_key_is_free_once_its_event_is_taken_or_gone() {
        let mut keys = WaitingKeys::default();
        let now = Instant::now();
        keys.not_taken("taken", now);
        keys.not_taken("gone", now);
        keys.forget("taken");
        assert!(!keys.contains("taken"));
        keys.forget_due(now);
        assert!(keys.contains("gone"), "it was not tried yet");
        keys.forget_due(now + Duration::from_secs(1));
        assert!(!keys.contains("gone"));
    }

    #[test]
    fn no_more_keys_are_remembered_than_there_is_room_for() {
        let mut keys = WaitingKeys::default();
        let now = Instant::now();
        for key in 0..2 * KEYS_MAX {
            keys.not_taken(&key.to_string(), now);
        }
        assert_eq!(keys.left_alone(now).len(), KEYS_MAX);
    }
}
