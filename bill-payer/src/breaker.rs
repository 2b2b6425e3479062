//! When to stop calling a provider that is away, and when to look whether it is back: a circuit
//! breaker. Pure: the time is a value, and so is the length of a wait.
//!
//! Promises: so many failures in a row as it is told open it; while it is open nothing is called but
//! probes, one after each of its waits; the first answer closes it. Not a crate: those there
//! are count and wait inside a call of their own, read the clock themselves, and let any number of
//! calls through as probes.

use std::time::Duration;

use crate::domain::{Answer, Reach, Why};

/// What an answer says about the provider, whatever it says about the bill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It answers.
    Up,
    /// It does not, or not us.
    Down,
    /// Nothing: it is about this one request, or we did not wait for it.
    Unclear,
}

/// How many calls may begin now.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permit {
    /// As many as there are.
    All,
    /// One, to see whether the provider is back.
    Probe,
    /// None.
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
    /// The provider answers, or did a moment ago.
    Closed { failures: u32 },
    /// It is away, for that many waits so far; a probe may begin at `until`.
    Open { waits: u32, until: Duration },
    /// A probe is in flight.
    Probing { waits: u32 },
}

impl Breaker {
    /// A closed one, that opens at so many failures in a row.
    #[must_use]
    pub const fn new(failures_max: u32) -> Self {
        Self {
            failures_max,
            state: State::Closed { failures: 0 },
        }
    }

    /// How many calls may begin at `now`.
    pub fn permit(&self, now: Duration) -> Permit {
        match self.state {
            State::Closed { .. } => Permit::All,
            State::Open { until, .. } if now >= until => Permit::Probe,
            State::Open { .. } | State::Probing { .. } => Permit::Nothing,
        }
    }

    /// A call begins.
    pub const fn begin(&mut self) {
        if let State::Open { waits, .. } = self.state {
            self.state = State::Probing { waits };
        }
    }

    /// A call has ended at `now`. `wait` says how long to stay open the first, second, ... time in a row.
    ///
    /// A failure of a call that began before it opened changes nothing while it is open; while a probe
    /// is in flight it counts as the probe's, which costs one more wait, or lets another probe begin beside it.
    pub fn heard(&mut self, health: Health, now: Duration, wait: impl FnOnce(u32) -> Duration) {
        self.state = match (self.state, health) {
            (_, Health::Up) => State::Closed { failures: 0 },
            (State::Closed { failures }, Health::Down) => {
                let failures = failures.saturating_add(1);
                if failures < self.failures_max {
                    State::Closed { failures }
                } else {
                    opened(1, now, wait)
                }
            }
            (State::Probing { waits }, Health::Down) => opened(waits.saturating_add(1), now, wait),
            // The probe said nothing: another one may.
            (State::Probing { waits }, Health::Unclear) => State::Open { waits, until: now },
            (state @ State::Closed { .. }, Health::Unclear)
            | (state @ State::Open { .. }, Health::Down | Health::Unclear) => state,
        };
    }

    /// Whether the provider is there, as far as is known.
    #[must_use]
    pub const fn reach(&self) -> Reach {
        match self.state {
            State::Closed { .. } => Reach::There,
            State::Open { .. } | State::Probing { .. } => Reach::Away,
        }
    }
}

fn opened(waits: u32, now: Duration, wait: impl FnOnce(u32) -> Duration) -> State {
    State::Open {
        waits,
        until: now.saturating_add(wait(waits)),
    }
}

impl Health {
    /// Of an answer.
    #[must_use]
    pub const fn of(answer: &Answer) -> Self {
        match answer.why() {
            None => Self::Up,
            Some(why) => why.health(),
        }
    }
}

impl Why {
    /// What it says about the provider.
    #[must_use]
    pub const fn health(&self) -> Health {
        match self {
            Self::Unreachable(_)
            | Self::Timeout
            | Self::Broken(_)
            | Self::Unavailable { .. }
            | Self::Unreadable(_) => Health::Down,
            Self::Refused { status, .. } => match status {
                // These are about the request: another one may be served.
                400 | 405 | 406 | 409..=428 | 431 => Health::Unclear,
                // Redirected, not let in, not found: it is not us whom it serves.
                _ => Health::Down,
            },
            Self::Unrecorded | Self::Stopped => Health::Unclear,
        }
    }
}
