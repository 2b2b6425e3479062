//! Whether a consumer makes progress, as `/readyz` and the log say it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::stall::Stall;
use crate::RepeatedError;

/// How long records may wait before the service is not ready.
pub(super) const NOT_READY_AFTER: Duration = Duration::from_secs(30);

/// The health of a consumer; all clones are of the same.
#[derive(Debug, Clone)]
pub struct ConsumerHealth {
    topic: String,
    state: Arc<Mutex<State>>,
    errors: Arc<RepeatedError>,
}

#[derive(Debug, Default)]
struct State {
    /// Since when the same batch fails, and why it failed last.
    failing: Option<(Instant, String)>,
    stall: Option<Stall>,
}

impl ConsumerHealth {
    pub(crate) fn new(topic: String) -> Self {
        Self {
            topic,
            state: Arc::default(),
            errors: Arc::new(RepeatedError::of("taking records")),
        }
    }

    pub(super) fn takes(&self) {
        self.state().failing = None;
        self.errors.succeeded();
    }

    pub(super) fn fails(&self, reason: &str) {
        self.errors.failed(format_args!("{}: {reason}", self.topic));
        let mut state = self.state();
        let since = state
            .failing
            .take()
            .map_or_else(Instant::now, |(since, _)| since);
        state.failing = Some((since, reason.to_owned()));
    }

    pub(super) fn moves(&self) {
        self.state().stall = None;
    }

    pub(super) fn stands_still(&self, stall: Stall) {
        self.state().stall = Some(stall);
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Succeeds unless records have waited for [`NOT_READY_AFTER`].
    ///
    /// # Errors
    /// Which topic stands still, for how long and why.
    pub fn check(&self) -> anyhow::Result<()> {
        let state = self.state();
        if let Some((since, reason)) = &state.failing {
            let lasts = since.elapsed();
            anyhow::ensure!(
                lasts < NOT_READY_AFTER,
                "records of {} could not be taken for {} s: {reason}",
                self.topic,
                lasts.as_secs()
            );
        }
        if let Some(stall) = &state.stall {
            anyhow::ensure!(
                stall.lasts < NOT_READY_AFTER,
                "{} records of {}, partition {}, have not been read for {} s",
                stall.records,
                self.topic,
                stall.partition,
                stall.lasts.as_secs()
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_that_wait_for_long_make_the_service_not_ready_and_it_says_why() {
        let health = ConsumerHealth::new("wallet.events".to_owned());
        let stall = |seconds| Stall {
            partition: 3,
            records: 7,
            lasts: Duration::from_secs(seconds),
        };
        health.stands_still(stall(29));
        assert!(health.check().is_ok());
        health.stands_still(stall(30));
        let error = health.check().unwrap_err().to_string();
        assert_eq!(
            error,
            "7 records of wallet.events, partition 3, have not been read for 30 s"
        );
        health.moves();
        assert!(health.check().is_ok());

        health.fails("the server is away");
        assert!(health.check().is_ok(), "for a moment");
        let begin = Instant::now().checked_sub(NOT_READY_AFTER).unwrap();
        health.state().failing = Some((begin, String::new()));
        health.fails("the server is still away");
        let error = health.check().unwrap_err().to_string();
        let expected =
            "records of wallet.events could not be taken for 30 s: the server is still away";
        assert_eq!(error, expected);
        health.takes();
        assert!(health.check().is_ok());
    }
}
