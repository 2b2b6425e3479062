//! How many requests a caller may send.

use std::num::NonZeroU32;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::Refusal;

/// Requests of each caller.
#[derive(Debug, Default)]
pub(super) struct CallerRates(Option<DefaultKeyedRateLimiter<String>>);

impl CallerRates {
    pub(super) fn new(per_second_max: Option<NonZeroU32>) -> Self {
        Self(per_second_max.map(|max| RateLimiter::keyed(Quota::per_second(max))))
    }

    /// One more of `caller`.
    pub(super) fn count(&self, caller: &str) -> Result<(), Refusal> {
        let Some(limiter) = &self.0 else {
            return Ok(());
        };
        limiter.check_key(&caller.to_owned()).map_err(|until| {
            let wait = until.wait_time_from(DefaultClock::default().now());
            let retry_after_s = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX - 1) + 1;
            Refusal::Rate { retry_after_s }
        })
    }

    /// Whoever sends nothing takes no memory.
    pub(super) fn forget_idle(&self) {
        if let Some(limiter) = &self.0 {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }
}
