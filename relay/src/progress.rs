//! Whether the relay gets on: what `/readyz` answers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a relay may be without progress and still count as ready. Longer than a slow batch, shorter
/// than anybody wants to be paid late without knowing.
pub const PROGRESS_WITHIN: Duration = Duration::from_secs(10);

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
