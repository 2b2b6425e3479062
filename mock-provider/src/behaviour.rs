//! How the provider treats payment calls: the settings, and the fate that a random number draws. Pure.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::{Deserialize, Serialize};

const WAIT_MS_MAX: u64 = 600_000;

/// What the shares may add up to: 1, and the rounding error of sums such as 0.1 + 0.2 + 0.7.
const SUM_MAX: f64 = 1.000_000_001;

/// How the provider treats calls of `POST /payments`; no other route is affected.
///
/// A share is the chance of each call, from 0 to 1. All shares together are at most 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// Before each response, at most 600,000.
    pub latency_ms: u64,
    /// The response is 500, and nothing is done.
    pub server_error_share: f64,
    /// The provider decides as usual and takes the money, but responds only after [`Self::timeout_ms`].
    pub timeout_share: f64,
    /// At most 600,000. Below the caller's own timeout the response is slow, not lost.
    pub timeout_ms: u64,
    /// The payment is declined for good; only the first call of a key can be.
    pub decline_share: f64,
    /// Accounts whose bills are always declined.
    pub declined_accounts: Vec<String>,
    /// With a seed, the fate of a call depends on the account number and on the number of earlier calls of its key
    /// alone, so that a run can be repeated. Without one it is random.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            latency_ms: 0,
            server_error_share: 0.0,
            timeout_share: 0.0,
            timeout_ms: 60_000,
            decline_share: 0.0,
            declined_accounts: Vec::new(),
            seed: None,
        }
    }
}

/// A setting that is out of range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BehaviourError {
    #[error("{0} must be a number from 0 to 1")]
    Share(&'static str),
    #[error("server_error_share, timeout_share and decline_share together must be at most 1")]
    Sum,
    #[error("{0} must be at most {WAIT_MS_MAX}")]
    Wait(&'static str),
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    ServerError,
    /// Decided as usual, with a response that comes too late.
    Timeout,
    /// Declined for good, if the call is the first of its key.
    Decline,
    Served,
}

impl Behaviour {
    /// Finds the first setting that is out of range.
    pub(crate) fn check(&self) -> Result<(), BehaviourError> {
        let shares = self.shares();
        let outside = |&(_, share, _): &(&str, f64, Fate)| !(0.0..=1.0).contains(&share);
        if let Some((name, ..)) = shares.into_iter().find(outside) {
            return Err(BehaviourError::Share(name));
        }
        if shares.iter().map(|(_, share, _)| share).sum::<f64>() > SUM_MAX {
            return Err(BehaviourError::Sum);
        }
        if self.latency_ms > WAIT_MS_MAX {
            return Err(BehaviourError::Wait("latency_ms"));
        }
        if self.timeout_ms > WAIT_MS_MAX {
            return Err(BehaviourError::Wait("timeout_ms"));
        }
        Ok(())
    }

    /// Returns the fate that `roll`, a random number with `0 <= roll < 1`, draws.
    #[expect(
        clippy::float_arithmetic,
        reason = "shares are chances; money is never a float"
    )]
    pub(crate) fn fate(&self, roll: f64) -> Fate {
        let mut below = 0.0;
        for (_, share, fate) in self.shares() {
            below += share;
            if roll < below {
                return fate;
            }
        }
        Fate::Served
    }

    /// Returns the random number for a call about the bill of `account_number` whose key had `earlier` calls.
    pub(crate) fn roll(&self, account_number: &str, earlier: u64) -> f64 {
        let Some(seed) = self.seed else {
            return rand::random();
        };
        let mut hasher = DefaultHasher::new();
        (seed, account_number, earlier).hash(&mut hasher);
        StdRng::seed_from_u64(hasher.finish()).random()
    }

    pub(crate) fn declines(&self, fate: Fate, account_number: &str) -> bool {
        fate == Fate::Decline || self.declined_accounts.iter().any(|it| it == account_number)
    }

    /// Returns how long the response to a call is held back.
    pub(crate) const fn wait(&self, fate: Fate) -> Duration {
        Duration::from_millis(match fate {
            Fate::Timeout => self.timeout_ms,
            Fate::ServerError | Fate::Decline | Fate::Served => self.latency_ms,
        })
    }

    const fn shares(&self) -> [(&'static str, f64, Fate); 3] {
        let errors = self.server_error_share;
        [
            ("server_error_share", errors, Fate::ServerError),
            ("timeout_share", self.timeout_share, Fate::Timeout),
            ("decline_share", self.decline_share, Fate::Decline),
        ]
    }
}

#[cfg(test)]
#[path = "../tests/unit/behaviour.rs"]
mod tests;
