//! The breakers of the two calls, with a clock, a log and metrics.
//!
//! One each: a provider may still refuse payments on request while it can't take any, and the other way
//! round. They belong to the process; another one finds out by itself.

use std::time::{Duration, Instant};

use chassis::Backoff;
use tracing::{info, warn};

use crate::breaker::{Breaker, Health, Permit};
use crate::config::ExecutorConfig;
use crate::domain::{Answer, Call, Reach, Why};

/// Whether the provider is away, for each call.
pub(super) struct Outages {
    pay: Breaker,
    cancel: Breaker,
    backoff: Backoff,
    retry_after_max: Duration,
    /// Where the breakers' time begins.
    began: Instant,
}

impl Outages {
    pub(super) fn new(config: &ExecutorConfig) -> Self {
        let breaker = Breaker::new(config.breaker_failures_max);
        for call in [Call::Pay, Call::Cancel] {
            report(call, Reach::There);
        }
        Self {
            pay: breaker,
            cancel: breaker,
            backoff: config.breaker_backoff(),
            retry_after_max: config.retry_after_max(),
            began: Instant::now(),
        }
    }

    /// How many bills may be claimed now, and for which call; without one, for either.
    pub(super) fn may_begin(&self) -> Vec<(Option<Call>, usize)> {
        let now = self.began.elapsed();
        let (pay, cancel) = (self.pay.permit(now), self.cancel.permit(now));
        if (pay, cancel) == (Permit::All, Permit::All) {
            return vec![(None, usize::MAX)];
        }
        let calls = [(Call::Cancel, cancel), (Call::Pay, pay)];
        let allowed = calls.map(|(call, permit)| match permit {
            Permit::All => (Some(call), usize::MAX),
            Permit::Probe => (Some(call), 1),
            Permit::Nothing => (Some(call), 0),
        });
        allowed.to_vec()
    }

    pub(super) const fn begin(&mut self, call: Call) {
        self.of(call).begin();
    }

    /// Takes note of an answer, and says whether the provider is there.
    pub(super) fn heard(&mut self, call: Call, answer: &Answer) -> Reach {
        let now = self.began.elapsed();
        let backoff = self.backoff;
        let asked = answer
            .why()
            .map_or(Duration::ZERO, |why| why.retry_after(self.retry_after_max));
        let breaker = self.of(call);
        let before = breaker.reach();
        breaker.heard(Health::of(answer), now, |waits| {
            backoff.wait(waits).max(asked)
        });
        let reach = breaker.reach();
        if before != reach {
            report(call, reach);
            match reach {
                Reach::There => info!(call = call.label(), "the provider answers again"),
                Reach::Away => warn!(
                    call = call.label(),
                    why = answer.why().map(ToString::to_string),
                    "the provider is away: no more calls but probes, bills wait"
                ),
            }
        }
        reach
    }

    /// A call, nobody knows which, has ended without an answer.
    pub(super) fn lost(&mut self) {
        let now = self.began.elapsed();
        for breaker in [&mut self.pay, &mut self.cancel] {
            breaker.heard(Health::Unclear, now, |_| Duration::ZERO);
        }
    }

    const fn of(&mut self, call: Call) -> &mut Breaker {
        match call {
            Call::Pay => &mut self.pay,
            Call::Cancel => &mut self.cancel,
        }
    }
}

fn report(call: Call, reach: Reach) {
    let away = match reach {
        Reach::There => 0.0,
        Reach::Away => {
            metrics::counter!("provider_outages_total", "call" => call.label()).increment(1);
            1.0
        }
    };
    metrics::gauge!("provider_away", "call" => call.label()).set(away);
}

impl Why {
    /// How long the provider wants to be left alone, `max` at the most; zero if it does not say.
    pub(super) fn retry_after(&self, max: Duration) -> Duration {
        match self {
            Self::Unavailable { retry_after, .. } => retry_after.unwrap_or_default().min(max),
            Self::Unreachable(_)
            | Self::Timeout
            | Self::Broken(_)
            | Self::Refused { .. }
            | Self::Unreadable(_)
            | Self::Unrecorded
            | Self::Stopped => Duration::ZERO,
        }
    }
}
