//! Waits for a state with a deadline, and reports the last state seen.

use std::time::{Duration, Instant};

/// How long a state may take to come. Far more than it takes: a loaded machine must not fail a test.
pub const DEADLINE: Duration = Duration::from_secs(60);

const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Calls `look` until it returns `Ok`; panics at the deadline with the last `Err`.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let begun = Instant::now();
    loop {
        match look().await {
            Ok(seen) => return seen,
            Err(seen) if begun.elapsed() > DEADLINE => {
                panic!("waited {DEADLINE:?} for: {what}; seen last: {seen}")
            }
            Err(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}
