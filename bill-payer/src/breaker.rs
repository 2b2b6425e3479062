//! A circuit breaker: when to stop calling a provider that is away, and when to probe whether it is back. Pure: the
//! time is a value, and so is the length of a wait.
//!
//! Promises: that many failures in a row as it is told open it; while it is open nothing is called but
//! probes, one after each of its waits; the first call that the provider serves closes it. Not a crate: those on
//! crates.io count and wait inside a call of their own, read the clock themselves, and let any number of
//! calls through as probes.

use std::time::Duration;

use crate::domain::{Health, ProviderState};

/// How many calls may begin now.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permit {
    All,
    /// One, to see whether the provider is back.
    Probe,
    Nothing,
}

/// A breaker of one kind of call. Times are since any one moment, by a clock that never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    failures_max: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The provider serves calls, or did a moment ago.
    Closed { failures: u32 },
    /// The provider is away, for that many waits so far; a probe may begin at `until`.
    Open { waits: u32, until: Duration },
    /// A probe is in flight.
    Probing { waits: u32 },
}

impl Breaker {
    /// Returns a closed breaker that opens at that many failures in a row.
    #[must_use]
    pub const fn new(failures_max: u32) -> Self {
        Self {
            failures_max,
            state: State::Closed { failures: 0 },
        }
    }

    /// Says how many calls may begin at `now`.
    pub fn permit(&self, now: Duration) -> Permit {
        match self.state {
            State::Closed { .. } => Permit::All,
            State::Open { until, .. } if now >= until => Permit::Probe,
            State::Open { .. } | State::Probing { .. } => Permit::Nothing,
        }
    }

    /// Notes that a call begins.
    pub const fn call_begins(&mut self) {
        if let State::Open { waits, .. } = self.state {
            self.state = State::Probing { waits };
        }
    }

    /// Notes that a call has ended at `now`. `wait` says how long to stay open the first, second, ... time in a row.
    ///
    /// A failure of a call that began before the breaker opened changes nothing while it is open; while a probe
    /// is in flight it counts as the probe's, which costs one more wait, or lets a second probe begin.
    pub fn call_ended(
        &mut self,
        health: Health,
        now: Duration,
        wait: impl FnOnce(u32) -> Duration,
    ) {
        let opened = |waits: u32| State::Open {
            waits,
            until: now.saturating_add(wait(waits)),
        };
        self.state = match (self.state, health) {
            (_, Health::Up) => State::Closed { failures: 0 },
            (State::Closed { failures }, Health::Down) => {
                let failures = failures.saturating_add(1);
                if failures < self.failures_max {
                    State::Closed { failures }
                } else {
                    opened(1)
                }
            }
            (State::Probing { waits }, Health::Down) => opened(waits.saturating_add(1)),
            // The probe said nothing: another one may begin.
            (State::Probing { waits }, Health::Unclear) => State::Open { waits, until: now },
            (state @ State::Closed { .. }, Health::Unclear)
            | (state @ State::Open { .. }, Health::Down | Health::Unclear) => state,
        };
    }

    /// Whether the provider is there, as far as is known.
    #[must_use]
    pub const fn provider_state(&self) -> ProviderState {
        match self.state {
            State::Closed { .. } => ProviderState::Available,
            State::Open { .. } | State::Probing { .. } => ProviderState::Away,
        }
    }
}
