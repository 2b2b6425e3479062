//! Whether the relay gets on: what `/readyz` answers and the counters show.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chassis::Backoff;
use chassis::telemetry::chain;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// How long a relay may be without progress and still count as ready. Longer than a slow batch, shorter
/// than anybody wants to be paid late without knowing.
pub const PROGRESS_WITHIN: Duration = Duration::from_secs(10);

/// How long to wait before the next connection, or before the next try when Kafka took nothing.
pub(crate) const RETRY: Backoff = Backoff {
    first: Duration::from_millis(100),
    max: Duration::from_secs(5),
};

/// When progress was made last: something was published, or nothing was there to be. Clones share it.
#[derive(Debug, Clone)]
pub struct Progress(Arc<Mutex<State>>);

#[derive(Debug)]
enum State {
    /// Publishing, as of then.
    Since(Instant),
    /// Held up, by what.
    HeldUp(String),
}

impl Default for Progress {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State::HeldUp("starting".to_owned()))))
    }
}

impl Progress {
    /// Something was published, or nothing is pending.
    pub fn made(&self) {
        self.set(State::Since(Instant::now()));
    }

    /// No progress can be made, and why.
    pub fn held_up(&self, reason: String) {
        self.set(State::HeldUp(reason));
    }

    /// Succeeds if progress was made within [`PROGRESS_WITHIN`].
    ///
    /// # Errors
    /// It was not, and why or for how long.
    pub fn check(&self) -> anyhow::Result<()> {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Since(last) if last.elapsed() <= PROGRESS_WITHIN => Ok(()),
            State::Since(last) => anyhow::bail!(
                "events are pending and none was published for {} s",
                last.elapsed().as_secs()
            ),
            State::HeldUp(reason) => anyhow::bail!("{reason}"),
        }
    }

    fn set(&self, state: State) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

/// What one run of a mode did, in events.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Run {
    /// Found in the outbox, or received.
    pub read: usize,
    /// Acknowledged by Kafka.
    pub published: usize,
    /// Refused by Kafka for good.
    pub refused: usize,
    /// Parked: refused, and never to be tried again unless somebody says so.
    pub parked: usize,
    /// Gone from the outbox.
    pub deleted: usize,
}

/// What is to be done after a run.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// There was nothing: wait for events.
    Idle,
    /// There may be more.
    GoOn,
    /// Kafka took nothing, or an event that could not be parked comes again: wait before the next try.
    Retry,
}

impl Run {
    /// What is to be done after it.
    pub(crate) const fn next(self) -> Next {
        if self.read == 0 {
            Next::Idle
        } else if self.published + self.parked == 0 || self.parked < self.refused {
            Next::Retry
        } else {
            Next::GoOn
        }
    }

    /// Whether something was published, or nothing was there to be.
    pub(crate) const fn is_progress(self) -> bool {
        self.read == 0 || self.published > 0
    }

    /// Adds to the counters that `/metrics` shows.
    pub(crate) fn count(&self) {
        let count = |name: &'static str, events: usize| {
            metrics::counter!(name).increment(u64::try_from(events).unwrap_or(u64::MAX));
        };
        count("relay_published_total", self.published);
        count("relay_refused_total", self.refused);
        count("relay_deleted_total", self.deleted);
    }
}

/// Failures in a row: each reason is logged once, and each wait is longer.
#[derive(Debug, Default)]
pub(crate) struct Tries {
    failures: u32,
    held_up_by: String,
}

impl Tries {
    pub(crate) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Says so, and waits before the next try, or until `stop`.
    pub(crate) async fn failed(
        &mut self,
        error: &(dyn Error + Send + Sync + 'static),
        progress: &Progress,
        stop: &CancellationToken,
    ) {
        self.failures += 1;
        let wait = RETRY.wait(self.failures);
        let reason = chain(error);
        if reason == self.held_up_by {
            debug!(?wait, "{reason}");
        } else {
            warn!("relaying is held up: {reason}");
            progress.held_up(reason.clone());
            self.held_up_by = reason;
        }
        stop.run_until_cancelled(tokio::time::sleep(wait)).await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_failure_is_waited_out_a_stop_is_not_and_a_success_begins_anew() {
        let (progress, stop, running) = (
            Progress::default(),
            CancellationToken::new(),
            CancellationToken::new(),
        );
        stop.cancel();
        let error = std::io::Error::other("it is away");
        let mut tries = Tries::default();
        for failures in 1..=3 {
            let failed = tries.failed(&error, &progress, &stop).now_or_never();
            assert!(failed.is_some(), "a stop waits for nothing");
            assert_eq!(tries.failures, failures);
        }
        let held_up = progress.check().unwrap_err();
        assert_eq!(held_up.to_string(), "it is away");

        tries.succeeded();
        progress.made();
        assert_eq!(tries.failures, 0);
        let waits = tries.failed(&error, &progress, &running);
        assert!(waits.now_or_never().is_none(), "it waits");
        assert!(progress.check().is_err(), "the same reason, anew");
    }

    #[test]
    fn a_relay_pauses_when_kafka_takes_nothing_and_not_when_an_event_is_parked() {
        let run = |read, published, refused, parked| Run {
            read,
            published,
            refused,
            parked,
            deleted: published,
        };
        for (run, next, is_progress) in [
            (run(0, 0, 0, 0), Next::Idle, true),
            (run(3, 3, 0, 0), Next::GoOn, true),
            (run(3, 1, 0, 0), Next::GoOn, true),
            (run(3, 0, 0, 0), Next::Retry, false),
            (run(3, 0, 1, 1), Next::GoOn, false),
            (run(3, 1, 1, 1), Next::GoOn, true),
            (run(3, 1, 1, 0), Next::Retry, true),
            (run(3, 0, 2, 1), Next::Retry, false),
        ] {
            assert_eq!(
                (run.next(), run.is_progress()),
                (next, is_progress),
                "{run:?}"
            );
        }
    }
}
