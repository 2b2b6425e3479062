//! Keys whose next event Kafka does not take: they are left alone for a while, others go on.
//!
//! In memory only: a relay that starts anew, or takes over a shard, finds out by itself.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use chassis::Backoff;

/// How long to leave a key alone: the refusal passes only when somebody does something about it.
const RETRY: Backoff = Backoff {
    first: Duration::from_secs(1),
    max: Duration::from_secs(60),
};

/// Keys at the most. More than these are refused when something is wrong with the topic rather than
/// with the events: relaying then goes at the pace of tries.
const KEYS_MAX: usize = 1_000;

/// The keys whose next event was refused.
#[derive(Debug, Default)]
pub(crate) struct BlockedKeys(HashMap<String, Blocked>);

#[derive(Debug)]
struct Blocked {
    tries: u32,
    refused: bool,
    until: Instant,
}

impl BlockedKeys {
    /// The keys to be left alone now. Those that nobody has heard of for long are forgotten: their
    /// events are gone, or another relay's.
    pub(crate) fn left_alone(&mut self, now: Instant) -> Vec<String> {
        self.0
            .retain(|_, blocked| now < blocked.until + 2 * RETRY.max);
        let left_alone = self.0.iter().filter(|(_, blocked)| now < blocked.until);
        left_alone.map(|(key, _)| key.clone()).collect()
    }

    /// Whether the key's next event has been refused before: it is to be tried alone.
    pub(crate) fn is_on_trial(&self, key: &str) -> bool {
        self.0.get(key).is_some_and(|blocked| blocked.refused)
    }

    /// Whether the key's next event was not taken: those behind it wait.
    pub(crate) fn contains(&self, key: &str) -> bool {
        !self.0.is_empty() && self.0.contains_key(key)
    }

    /// Whether it is time to try one of them.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.0.values().any(|blocked| blocked.until <= now)
    }

    /// Forgets those that were to be tried by `now` and were not heard of since: their events are gone.
    pub(crate) fn forget_due(&mut self, now: Instant) {
        self.0.retain(|_, blocked| now < blocked.until);
    }

    /// Kafka will never take the key's next event.
    pub(crate) fn refused(&mut self, key: &str, now: Instant) {
        self.block(key, true, now);
    }

    /// Kafka did not take the key's next event this time.
    pub(crate) fn pending(&mut self, key: &str, now: Instant) {
        if self.0.get(key).is_none_or(|blocked| blocked.until <= now) {
            self.block(key, self.is_on_trial(key), now);
        }
    }

    fn block(&mut self, key: &str, refused: bool, now: Instant) {
        let tries = self.0.get(key).map_or(0, |blocked| blocked.tries) + 1;
        if tries == 1 && self.0.len() >= KEYS_MAX {
            return;
        }
        let until = now + RETRY.ceiling(tries);
        let blocked = Blocked {
            tries,
            refused,
            until,
        };
        self.0.insert(key.to_owned(), blocked);
    }

    pub(crate) fn published(&mut self, key: &str) {
        if !self.0.is_empty() {
            self.0.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_key_is_left_alone_for_longer_and_longer_up_to_a_minute() {
        let mut keys = BlockedKeys::default();
        let mut now = Instant::now();
        for pause_s in [1, 2, 4, 8, 16, 32, 60, 60] {
            keys.refused("k", now);
            assert_eq!(keys.left_alone(now), ["k"]);
            now += Duration::from_secs(pause_s);
            assert!(keys.left_alone(now).is_empty(), "after {pause_s} s");
            assert!(keys.is_on_trial("k"));
        }
    }

    #[test]
    fn a_key_is_free_once_its_event_is_published_or_gone() {
        let mut keys = BlockedKeys::default();
        let now = Instant::now();
        keys.refused("published", now);
        keys.refused("gone", now);
        keys.published("published");
        assert!(!keys.is_on_trial("published"));
        assert!(keys.left_alone(now + Duration::from_secs(300)).is_empty());
        assert!(!keys.is_on_trial("gone"));
    }

    #[test]
    fn no_more_keys_are_remembered_than_there_is_room_for() {
        let mut keys = BlockedKeys::default();
        let now = Instant::now();
        for key in 0..2 * KEYS_MAX {
            keys.refused(&key.to_string(), now);
        }
        assert_eq!(keys.left_alone(now).len(), KEYS_MAX);
    }
}
