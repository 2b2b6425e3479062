//! How the provider treats payment calls: settings, and what a throw of the dice means. Pure.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::{Deserialize, Serialize};

/// The longest latency and timeout, in milliseconds.
const WAIT_MS_MAX: u64 = 600_000;

/// What the shares may add up to: 1, and what rounding adds to sums such as 0.1 + 0.2 + 0.7.
const SUM_MAX: f64 = 1.000_000_001;

/// How the provider treats calls of `POST /payments`; nothing else is affected.
///
/// Shares are chances from 0 to 1, of each call anew, and together at most 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// Milliseconds before each answer, at most 600,000.
    pub latency_ms: u64,
    /// Answered 500, and nothing is done.
    pub server_error_share: f64,
    /// Decided as usual, the money taken, but answered only after [`Self::timeout_ms`].
    pub timeout_share: f64,
    /// Milliseconds before such a late answer, at most 600,000. Lower than the caller's own timeout,
    /// it is a slow answer and no lost one.
    pub timeout_ms: u64,
    /// Declined for good; only the first call of a key can be.
    pub decline_share: f64,
    /// Accounts whose bills are always declined.
    pub declined_accounts: Vec<String>,
    /// With a seed the dice fall the same whenever it is set again: by account number and by how often the key was
    /// called before. Without one they are thrown anew.
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
    /// A share below 0 or above 1.
    #[error("{0} must be a number from 0 to 1")]
    Share(&'static str),
    /// The shares add up to more than all calls.
    #[error("server_error_share, timeout_share and decline_share together must be at most 1")]
    Sum,
    /// A wait of more than ten minutes.
    #[error("{0} must be at most {WAIT_MS_MAX}")]
    Wait(&'static str),
}

/// What the dice have in store for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Answered 500 with nothing done.
    ServerError,
    /// Decided as usual and answered too late.
    Timeout,
    /// Declined for good, if it is the first of its key.
    Decline,
    /// Nothing unusual.
    Served,
}

impl Behaviour {
    /// Finds the first setting that is out of range.
    pub(crate) fn check(&self) -> Result<(), BehaviourError> {
        let shares = self.shares();
        for (name, share, _) in shares {
            if !(0.0..=1.0).contains(&share) {
                return Err(BehaviourError::Share(name));
            }
        }
        if shares.iter().map(|(_, share, _)| share).sum::<f64>() > SUM_MAX {
            return Err(BehaviourError::Sum);
        }
        for (name, wait_ms) in [
            ("latency_ms", self.latency_ms),
            ("timeout_ms", self.timeout_ms),
        ] {
            if wait_ms > WAIT_MS_MAX {
                return Err(BehaviourError::Wait(name));
            }
        }
        Ok(())
    }

    /// What a throw of the dice, `0 <= roll < 1`, means for a call.
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

    /// The throw of the dice for a call about the bill of `account_number`, whose key was called `earlier` times, if
    /// there is a seed.
    pub(crate) fn seeded_roll(&self, account_number: &str, earlier: u64) -> Option<f64> {
        let mut hasher = DefaultHasher::new();
        (self.seed?, account_number, earlier).hash(&mut hasher);
        Some(StdRng::seed_from_u64(hasher.finish()).random())
    }

    /// Whether a new payment is declined.
    pub(crate) fn declines(&self, fate: Fate, account_number: &str) -> bool {
        fate == Fate::Decline || self.declined_accounts.iter().any(|it| it == account_number)
    }

    /// How long the answer to a call is held back.
    pub(crate) const fn wait(&self, fate: Fate) -> Duration {
        match fate {
            Fate::Timeout => Duration::from_millis(self.timeout_ms),
            Fate::ServerError | Fate::Decline | Fate::Served => {
                Duration::from_millis(self.latency_ms)
            }
        }
    }

    const fn shares(&self) -> [(&'static str, f64, Fate); 3] {
        [
            (
                "server_error_share",
                self.server_error_share,
                Fate::ServerError,
            ),
            ("timeout_share", self.timeout_share, Fate::Timeout),
            ("decline_share", self.decline_share, Fate::Decline),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(server_error: f64, timeout: f64, decline: f64) -> Behaviour {
        Behaviour {
            server_error_share: server_error,
            timeout_share: timeout,
            decline_share: decline,
            ..Behaviour::default()
        }
    }

    #[test]
    fn each_share_owns_its_part_of_the_dice() {
        let behaviour = shares(0.25, 0.5, 0.125);
        for (roll, fate) in [
            (0.0, Fate::ServerError),
            (0.249, Fate::ServerError),
            (0.25, Fate::Timeout),
            (0.749, Fate::Timeout),
            (0.75, Fate::Decline),
            (0.874, Fate::Decline),
            (0.875, Fate::Served),
            (0.999, Fate::Served),
        ] {
            assert_eq!(behaviour.fate(roll), fate, "{roll}");
        }
    }

    #[test]
    fn a_share_of_zero_never_happens_and_of_one_always() {
        for roll in [0.0, 0.5, 0.999_999_999_999_999_9] {
            assert_eq!(Behaviour::default().fate(roll), Fate::Served);
            assert_eq!(shares(1.0, 0.0, 0.0).fate(roll), Fate::ServerError);
            assert_eq!(shares(0.0, 1.0, 0.0).fate(roll), Fate::Timeout);
            assert_eq!(shares(0.0, 0.0, 1.0).fate(roll), Fate::Decline);
        }
    }

    #[test]
    fn shares_are_from_0_to_1_and_together_at_most_1() {
        assert_eq!(Behaviour::default().check(), Ok(()));
        assert_eq!(shares(0.1, 0.2, 0.7).check(), Ok(()));
        assert_eq!(shares(0.7, 0.2, 0.1).check(), Ok(()));
        assert_eq!(shares(0.5, 0.5, 0.01).check(), Err(BehaviourError::Sum));
        let wrong = |behaviour: Behaviour| behaviour.check().unwrap_err();
        assert_eq!(
            wrong(shares(-0.1, 0.0, 0.0)),
            BehaviourError::Share("server_error_share")
        );
        assert_eq!(
            wrong(shares(0.0, 1.1, 0.0)),
            BehaviourError::Share("timeout_share")
        );
        assert_eq!(
            wrong(shares(0.0, 0.0, f64::NAN)),
            BehaviourError::Share("decline_share")
        );
    }

    #[test]
    fn waits_are_at_most_ten_minutes() {
        let latency = Behaviour {
            latency_ms: WAIT_MS_MAX + 1,
            ..Behaviour::default()
        };
        assert_eq!(latency.check(), Err(BehaviourError::Wait("latency_ms")));
        let timeout = Behaviour {
            timeout_ms: WAIT_MS_MAX + 1,
            ..Behaviour::default()
        };
        assert_eq!(timeout.check(), Err(BehaviourError::Wait("timeout_ms")));
    }

    #[test]
    fn only_a_lost_answer_takes_the_timeout() {
        let behaviour = Behaviour {
            latency_ms: 5,
            timeout_ms: 700,
            ..Behaviour::default()
        };
        assert_eq!(behaviour.wait(Fate::Timeout), Duration::from_millis(700));
        for fate in [Fate::ServerError, Fate::Decline, Fate::Served] {
            assert_eq!(behaviour.wait(fate), Duration::from_millis(5));
        }
    }
}
