//! Errors that repeat: logged when they begin, now and then while they last, and when they end.
//!
//! A client of Kafka or PostgreSQL that is away reports an error at each try, many times a second: a log that repeats
//! them fills a disk, and hides the one line that matters.

use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{info, warn};

/// How often an error is logged again while it lasts.
const REPEAT_EVERY: Duration = Duration::from_secs(30);

/// An error that has not come for this long has ended, where nothing else says so.
const QUIET_FOR: Duration = Duration::from_secs(60);

/// The errors of one activity.
#[derive(Debug)]
pub struct RepeatedError {
    activity: &'static str,
    outage: Mutex<Option<Outage>>,
}

/// A run of errors.
#[derive(Debug, Clone, Copy)]
struct Outage {
    began: Instant,
    last: Instant,
    logged: Instant,
    errors: u64,
}

/// What there is to log about an error.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Began,
    Lasts { errors: u64 },
    None,
}

impl RepeatedError {
    /// The errors of `activity`, such as "reading wallet.events".
    #[must_use]
    pub const fn of(activity: &'static str) -> Self {
        Self {
            activity,
            outage: Mutex::new(None),
        }
    }

    /// Counts an error, and logs it unless it was logged a moment ago.
    pub fn failed(&self, error: impl Display) {
        let activity = self.activity;
        match self.count(Instant::now()) {
            Line::Began => warn!("{activity}: {error}"),
            Line::Lasts { errors } => warn!(errors, "{activity}: still: {error}"),
            Line::None => {}
        }
    }

    /// Ends a run of errors, if there is one, and logs that it has ended.
    pub fn succeeded(&self) {
        let ended = self.outage().take();
        if let Some(outage) = ended {
            let (errors, seconds) = (outage.errors, outage.began.elapsed().as_secs());
            info!(errors, seconds, "{}: works again", self.activity);
        }
    }

    fn count(&self, now: Instant) -> Line {
        let mut outage = self.outage();
        match &mut *outage {
            Some(outage) if now.duration_since(outage.last) < QUIET_FOR => {
                outage.errors += 1;
                outage.last = now;
                if now.duration_since(outage.logged) < REPEAT_EVERY {
                    return Line::None;
                }
                outage.logged = now;
                Line::Lasts {
                    errors: outage.errors,
                }
            }
            ended => {
                *ended = Some(Outage {
                    began: now,
                    last: now,
                    logged: now,
                    errors: 1,
                });
                Line::Began
            }
        }
    }

    fn outage(&self) -> std::sync::MutexGuard<'_, Option<Outage>> {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_logged_when_it_begins_now_and_then_and_when_it_begins_again() {
        let errors = RepeatedError::of("testing");
        let begin = Instant::now();
        let at = |seconds| errors.count(begin + Duration::from_secs(seconds));
        assert_eq!(at(0), Line::Began);
        for second in 1..30 {
            assert_eq!(at(second), Line::None);
        }
        assert_eq!(at(30), Line::Lasts { errors: 31 });
        assert_eq!(at(31), Line::None);
        assert_eq!(at(91), Line::Began, "a minute without one was its end");
        errors.succeeded();
        assert_eq!(at(92), Line::Began);
    }
}
