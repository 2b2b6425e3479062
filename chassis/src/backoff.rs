//! How long to wait before trying again.

use std::time::Duration;

use rand::RngExt;

/// Exponential back-off with full jitter: a random wait up to `first * 2^(attempt - 1)`, at most `max`,
/// at least a tenth of it, so that many who failed together do not come back together.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// The longest wait before the second try.
    pub first: Duration,
    /// The longest wait of all. Too low: an outage is hammered. Too high: recovery is noticed late.
    pub max: Duration,
}

impl Backoff {
    /// The longest wait after `attempt` failures (1, 2, ...), before jitter.
    #[must_use]
    pub fn ceiling(self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(30);
        self.first.saturating_mul(1 << doublings).min(self.max)
    }

    /// A wait after `attempt` failures (1, 2, ...).
    #[must_use]
    pub fn wait(self, attempt: u32) -> Duration {
        let ceiling = self.ceiling(attempt);
        let floor = ceiling / 10;
        rand::rng().random_range(floor..=ceiling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff {
        first: Duration::from_millis(100),
        max: Duration::from_secs(5),
    };

    #[test]
    fn doubles_up_to_the_maximum_and_never_overflows() {
        assert_eq!(BACKOFF.ceiling(1), Duration::from_millis(100));
        assert_eq!(BACKOFF.ceiling(3), Duration::from_millis(400));
        assert_eq!(BACKOFF.ceiling(7), Duration::from_secs(5));
        assert_eq!(BACKOFF.ceiling(u32::MAX), Duration::from_secs(5));
    }

    #[test]
    fn jitter_stays_between_a_tenth_and_the_whole() {
        for _ in 0..1_000 {
            let wait = BACKOFF.wait(2);
            assert!(wait >= Duration::from_millis(20) && wait <= Duration::from_millis(200));
        }
    }
}
