//! The breakers of the two calls, with a clock, a log and metrics.
//!
//! Each call has a breaker of its own: a provider may still refuse payments on request while it can't take any, and the
//! other way round. The breakers belong to the process; another process finds out by itself.

use std::time::{Duration, Instant};

use chassis::Backoff;
use tracing::{info, warn};

use crate::breaker::{Breaker, Permit};
use crate::config::ExecutorConfig;
use crate::domain::{Call, CallResult, Health, ProviderState};

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
            report(call, ProviderState::Available);
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

    pub(super) const fn call_begins(&mut self, call: Call) {
        self.breaker(call).call_begins();
    }

    /// Notes the result of a call, and returns whether the provider is there.
    pub(super) fn call_ended(&mut self, call: Call, result: &CallResult) -> ProviderState {
        let now = self.began.elapsed();
        let backoff = self.backoff;
        let cause = result.cause();
        let asked_for = cause.map(|cause| cause.retry_after(self.retry_after_max));
        let breaker = self.breaker(call);
        let before = breaker.provider_state();
        breaker.call_ended(result.health(), now, |waits| {
            backoff.wait(waits).max(asked_for.unwrap_or_default())
        });
        let state = breaker.provider_state();
        if before != state {
            report(call, state);
            let call = call.into_str();
            match state {
                ProviderState::Available => info!(call, "the provider answers again"),
                ProviderState::Away => warn!(
                    call,
                    why = cause.map(ToString::to_string),
                    "the provider is away: no more calls but probes, bills wait"
                ),
            }
        }
        state
    }

    /// Notes that a call, nobody knows which, has ended without a result.
    pub(super) fn call_lost(&mut self) {
        let now = self.began.elapsed();
        for breaker in [&mut self.pay, &mut self.cancel] {
            breaker.call_ended(Health::Unclear, now, |_| Duration::ZERO);
        }
    }

    const fn breaker(&mut self, call: Call) -> &mut Breaker {
        match call {
            Call::Pay => &mut self.pay,
            Call::Cancel => &mut self.cancel,
        }
    }
}

fn report(call: Call, state: ProviderState) {
    let call = call.into_str();
    let away = match state {
        ProviderState::Available => 0.0,
        ProviderState::Away => {
            metrics::counter!("provider_outages_total", "call" => call).increment(1);
            1.0
        }
    };
    metrics::gauge!("provider_away", "call" => call).set(away);
}
