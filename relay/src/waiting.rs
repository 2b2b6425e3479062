//! Keys whose next event Kafka did not take this time: they are blocked for a while, and their events wait in
//! the table.
//!
//! In memory only: a relay that starts reads the table and finds out by itself.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use chassis::Backoff;
use outbox::Event;

use crate::publisher::ByOutcome;

/// How long a key is blocked. A topic that keeps failing has a back-off of its own, so a try is often no more
/// than a question to the publisher.
const RETRY: Backoff = Backoff {
    first: Duration::from_millis(500),
    max: Duration::from_secs(5),
};

/// Keys at most, a megabyte of them. When more wait, the relay retries with back-off.
const KEYS_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct WaitingKeys(HashMap<String, Waiting>);

#[derive(Debug)]
struct Waiting {
    tries: u32,
    until: Instant,
}

impl WaitingKeys {
    pub(crate) fn blocked(&self, now: Instant) -> Vec<String> {
        let blocked = self.0.iter().filter(|(_, waiting)| now < waiting.until);
        blocked.map(|(key, _)| key.clone()).collect()
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    /// Whether the key's next event was not taken: the later ones wait.
    pub(crate) fn contains(&self, key: &str) -> bool {
        !self.0.is_empty() && self.0.contains_key(key)
    }

    /// Whether it is time to try one of them.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.0.values().any(|waiting| waiting.until <= now)
    }

    /// Forgets those that were to be tried by `now` and were not heard of since: their events are gone.
    pub(crate) fn forget_due(&mut self, now: Instant) {
        self.0.retain(|_, waiting| now < waiting.until);
    }

    /// Remembers the keys of `sorted` that have to wait; the events with the numbers `parked` are parked by now. Returns
    /// how many of the others are read again at once, because there is no room for their keys.
    pub(crate) fn remember(&mut self, sorted: &ByOutcome<'_>, parked: &HashSet<i64>) -> usize {
        for event in &sorted.published {
            self.forget(event.key());
        }
        let refused = sorted.refused.iter().map(|refusal| refusal.event);
        let (parked, refused): (Vec<_>, Vec<_>) =
            refused.partition(|event| parked.contains(&event.seq));
        let parked: HashSet<&str> = parked.into_iter().map(Event::key).collect();
        for key in &parked {
            self.forget(key);
        }
        let now = Instant::now();
        let mut again = 0;
        for event in refused.iter().chain(&sorted.pending) {
            if !parked.contains(event.key()) {
                self.not_taken(event.key(), now);
                again += usize::from(!self.contains(event.key()));
            }
        }
        again
    }

    /// Kafka did not take the key's next event. One that was not due is as it was.
    pub(crate) fn not_taken(&mut self, key: &str, now: Instant) {
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
    pub(crate) fn forget(&mut self, key: &str) {
        if !self.0.is_empty() {
            self.0.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_blocked_for_longer_and_longer_up_to_five_seconds() {
        let mut keys = WaitingKeys::default();
        let mut now = Instant::now();
        for pause_ms in [500, 1_000, 2_000, 4_000, 5_000, 5_000] {
            keys.not_taken("k", now);
            assert_eq!(keys.blocked(now), ["k"]);
            assert!(!keys.is_due(now));
            // The later ones don't make it longer.
            keys.not_taken("k", now);
            now += Duration::from_millis(pause_ms);
            assert!(keys.blocked(now).is_empty(), "after {pause_ms} ms");
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
        assert_eq!(keys.blocked(now).len(), KEYS_MAX);
    }
}
