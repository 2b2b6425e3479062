//! Relay progress, as `/readyz` and the counters report it.

use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chassis::Backoff;
use chassis::telemetry::chain;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// How long the oldest event of the outbox may stay the oldest before the relay counts as not ready. Longer than a
/// slow batch, shorter than anybody wants to be paid late without knowing.
pub(crate) const PROGRESS_WITHIN: Duration = Duration::from_secs(10);

/// How long to wait before the next try to reach the database, or when Kafka took nothing.
pub(crate) const RETRY: Backoff = Backoff {
    first: Duration::from_millis(100),
    max: Duration::from_secs(5),
};

/// How long to wait after a session that has failed: each try costs a connection, and may publish again.
const RETRY_SESSION: Backoff = Backoff {
    first: Duration::from_millis(100),
    max: Duration::from_secs(60),
};

const LOG_EVERY: Duration = Duration::from_secs(30);

/// Whether the relay works, and whether events wait for longer than they should. Clones share it.
#[derive(Debug, Clone)]
pub struct Progress(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    phase: Phase,
    /// The oldest event that is neither published nor parked, and since when it is the oldest.
    oldest: Option<(String, Instant)>,
}

#[derive(Debug)]
enum Phase {
    Starting,
    Works,
    StandsBy,
    Blocked(String),
}

impl Default for Progress {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State {
            phase: Phase::Starting,
            oldest: None,
        })))
    }
}

impl Progress {
    pub(crate) fn made(&self) {
        self.state().phase = Phase::Works;
    }

    pub(crate) fn stands_by(&self) {
        self.state().phase = Phase::StandsBy;
    }

    pub(crate) fn blocked(&self, reason: String) {
        self.state().phase = Phase::Blocked(reason);
    }

    /// Takes from the table its oldest event that is neither published nor parked, in words.
    pub(crate) fn oldest_is(&self, event: Option<String>) {
        let mut state = self.state();
        if state.oldest.as_ref().map(|(known, _)| known) != event.as_ref() {
            state.oldest = event.map(|event| (event, Instant::now()));
        }
    }

    /// Succeeds if the relay works and the oldest event has not been the oldest for [`PROGRESS_WITHIN`], or if it
    /// stands by.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> anyhow::Result<()> {
        let state = self.state();
        match (&state.phase, &state.oldest) {
            (Phase::StandsBy, _) => Ok(()),
            (Phase::Blocked(reason), _) => anyhow::bail!("{reason}"),
            (_, Some((event, since))) if since.elapsed() > PROGRESS_WITHIN => anyhow::bail!(
                "event {event} waits and was neither published nor parked for {} s",
                since.elapsed().as_secs()
            ),
            (Phase::Starting, _) => anyhow::bail!("starting"),
            (Phase::Works, _) => Ok(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one run of a mode did, in events.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BatchStats {
    /// Found in the outbox, or received.
    pub read: usize,
    /// Acknowledged by Kafka.
    pub published: usize,
    /// Refused by Kafka for good.
    pub refused: usize,
    /// Parked: refused, and retried only when an operator requests it.
    pub parked: usize,
    /// Deleted from the outbox.
    pub deleted: usize,
    /// Read again by the next run: neither published nor parked, and their keys are not blocked.
    pub again: usize,
}

/// What a run says about its mode.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// An event was published and deleted, or none was there.
    Works,
    /// Nothing yet.
    Unknown,
    /// Something is wrong, and what.
    Blocked(String),
}

/// What is to be done after a run.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NextStep {
    /// There was nothing to publish now: wait for events.
    Idle,
    /// There may be more.
    Continue,
    /// Kafka took nothing, or an event that could not be parked is read again: wait before the next try.
    Retry,
}

impl BatchStats {
    pub(crate) const fn next(self) -> NextStep {
        let nothing_done = self.published + self.parked == 0;
        if self.again > 0 && (nothing_done || self.parked < self.refused) {
            NextStep::Retry
        } else if nothing_done {
            NextStep::Idle
        } else {
            NextStep::Continue
        }
    }

    pub(crate) const fn health(self) -> Health {
        if self.read == 0 || (self.published > 0 && self.deleted > 0) {
            Health::Works
        } else {
            Health::Unknown
        }
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

/// A failure that repeats: to be logged when it begins, now and then while it lasts, and when it ends.
#[derive(Debug, Default)]
pub(crate) struct Repeated {
    reason: String,
    since: Option<(Instant, Instant)>,
    times: u32,
}

impl Repeated {
    /// Counts a failure; returns the text to log, if that is due.
    pub(crate) fn happened(&mut self, reason: &str) -> Option<String> {
        let now = Instant::now();
        self.times += 1;
        let (begun, said) = *self.since.get_or_insert((now, now));
        let is_new = self.reason != reason;
        if !is_new && said.elapsed() < LOG_EVERY {
            return None;
        }
        self.since = Some((begun, now));
        if is_new {
            reason.clone_into(&mut self.reason);
        }
        Some(if self.times == 1 {
            reason.to_owned()
        } else {
            format!(
                "{reason} (failure {}, for {} s)",
                self.times,
                begun.elapsed().as_secs()
            )
        })
    }

    /// Ends the failure; returns how often it has happened and for how long, if it has.
    pub(crate) fn end(&mut self) -> Option<(u32, Duration)> {
        let (begun, _) = self.since?;
        let Self { times, .. } = std::mem::take(self);
        Some((times, begun.elapsed()))
    }
}

/// Failures in a row: each wait is longer. Work that succeeds ends them, not a connection.
#[derive(Debug, Default)]
pub(crate) struct RetryState {
    /// Failures to reach the database or Kafka Connect.
    unreached: u32,
    /// Failures of what was done with a connection.
    failures: u32,
    repeated: Repeated,
}

impl RetryState {
    pub(crate) fn succeeded(&mut self) {
        (self.unreached, self.failures) = (0, 0);
        if let Some((failures, lasted)) = self.repeated.end() {
            let seconds = lasted.as_secs();
            info!(failures, seconds, "relaying continues");
        }
    }

    /// Logs the failure, and waits before the next try, or until `stop`.
    pub(crate) async fn failed(
        &mut self,
        error: &(dyn Error + Send + Sync + 'static),
        is_away: bool,
        progress: &Progress,
        stop: &CancellationToken,
    ) {
        let wait = if is_away {
            self.unreached += 1;
            RETRY.wait(self.unreached)
        } else {
            self.unreached = 0;
            self.failures += 1;
            RETRY_SESSION.wait(self.failures)
        };
        let reason = chain(error);
        match self.repeated.happened(&reason) {
            Some(reason) => warn!("relaying is blocked: {reason}"),
            None => debug!(?wait, "{reason}"),
        }
        progress.blocked(reason);
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
        let mut tries = RetryState::default();
        for failures in 1..=3 {
            let failed = tries.failed(&error, false, &progress, &stop).now_or_never();
            assert!(failed.is_some(), "a stop waits for nothing");
            assert_eq!(tries.failures, failures);
        }
        let held_up = progress.check().unwrap_err();
        assert_eq!(held_up.to_string(), "it is away");

        tries.succeeded();
        progress.made();
        assert_eq!(tries.failures, 0);
        let waits = tries.failed(&error, false, &progress, &running);
        assert!(waits.now_or_never().is_none(), "it waits");
        assert!(progress.check().is_err(), "the same reason, again");
    }

    #[tokio::test]
    async fn a_connection_does_not_end_a_back_off_and_a_failure_to_connect_does_not_lengthen_it() {
        for (failures, at_most) in [(1, 100), (6, 3_200), (10, 51_200), (20, 60_000)] {
            assert_eq!(
                RETRY_SESSION.ceiling(failures),
                Duration::from_millis(at_most)
            );
        }
        let error = std::io::Error::other("it is read-only");
        let (progress, stop) = (Progress::default(), CancellationToken::new());
        stop.cancel();
        let mut tries = RetryState::default();
        for is_away in [false, true, true, false] {
            let failed = tries.failed(&error, is_away, &progress, &stop);
            assert!(failed.now_or_never().is_some());
        }
        assert_eq!((tries.unreached, tries.failures), (0, 2));
    }

    #[test]
    fn a_failure_is_logged_when_it_begins_or_changes_and_when_it_ends() {
        let mut repeated = Repeated::default();
        assert_eq!(repeated.end(), None);
        assert_eq!(repeated.happened("away").as_deref(), Some("away"));
        assert_eq!(repeated.happened("away"), None);
        let changed = repeated.happened("read-only").unwrap();
        assert_eq!(changed, "read-only (failure 3, for 0 s)");
        let long_ago = Instant::now() - LOG_EVERY;
        repeated.since = Some((long_ago, long_ago));
        let lasts = repeated.happened("read-only").unwrap();
        assert_eq!(lasts, "read-only (failure 4, for 30 s)");
        assert_eq!(repeated.happened("read-only"), None);
        let (times, lasted) = repeated.end().unwrap();
        assert!(times == 5 && lasted >= LOG_EVERY);
        assert_eq!(repeated.happened("read-only").as_deref(), Some("read-only"));
    }

    #[test]
    fn a_relay_is_ready_while_the_oldest_event_changes_and_when_it_stands_by() {
        let progress = Progress::default();
        assert_eq!(progress.check().unwrap_err().to_string(), "starting");
        progress.made();
        let age = |progress: &Progress| {
            let mut state = progress.state();
            let (_, since) = state.oldest.as_mut().unwrap();
            *since = Instant::now() - PROGRESS_WITHIN - Duration::from_secs(1);
        };
        progress.oldest_is(Some("7".to_owned()));
        age(&progress);
        progress.oldest_is(Some("8".to_owned()));
        assert!(progress.check().is_ok(), "another one");
        age(&progress);
        progress.oldest_is(Some("8".to_owned()));
        let stuck = progress.check().unwrap_err().to_string();
        assert_eq!(
            stuck,
            "event 8 waits and was neither published nor parked for 11 s"
        );
        progress.stands_by();
        assert!(progress.check().is_ok());
        progress.made();
        progress.oldest_is(None);
        assert!(progress.check().is_ok());
    }

    #[test]
    fn a_relay_pauses_when_kafka_takes_nothing_and_not_when_an_event_is_parked() {
        let run = |read, published, refused, parked, again| BatchStats {
            read,
            published,
            refused,
            parked,
            deleted: published,
            again,
        };
        for (run, next, is_success) in [
            (run(0, 0, 0, 0, 0), NextStep::Idle, true),
            (run(3, 3, 0, 0, 0), NextStep::Continue, true),
            (run(3, 1, 0, 0, 2), NextStep::Continue, true),
            (run(3, 0, 0, 0, 3), NextStep::Retry, false),
            (run(3, 0, 0, 0, 0), NextStep::Idle, false),
            (run(3, 0, 1, 1, 0), NextStep::Continue, false),
            (run(3, 1, 1, 1, 0), NextStep::Continue, true),
            (run(3, 1, 1, 0, 1), NextStep::Retry, true),
            (run(3, 0, 2, 1, 1), NextStep::Retry, false),
        ] {
            assert_eq!(
                (run.next(), run.health() == Health::Works),
                (next, is_success),
                "{run:?}"
            );
        }
    }
}
