//! How many calls may run at a time, so that calls that hang do not block quick ones.
//!
//! A call begins in one of [`ExecutorConfig::calls_in_flight_max`] slots. A call that takes longer than
//! [`ExecutorConfig::slow_call_ms`] moves to one of [`ExecutorConfig::slow_calls_max`] slots for slow calls, if one is free,
//! and so lets the next bill begin. Without this, calls that hang until their timeout fill all slots: with one in ten
//! hanging for five seconds and the others taking 0.1 seconds, 85 % of the slots would be held by the hanging ones.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::ExecutorConfig;

pub(super) struct Slots {
    calls: Arc<Semaphore>,
    slow_calls: Arc<Semaphore>,
    slow_calls_max: u16,
    slow_after: Duration,
}

/// The place of one call; free when dropped.
pub(super) struct Slot {
    permit: OwnedSemaphorePermit,
    slow_calls: Arc<Semaphore>,
    slow_after: Duration,
}

impl Slots {
    pub(super) fn new(config: &ExecutorConfig) -> Self {
        let slots = |max: u16| Arc::new(Semaphore::new(usize::from(max)));
        Self {
            calls: slots(config.calls_in_flight_max),
            slow_calls: slots(config.slow_calls_max),
            slow_calls_max: config.slow_calls_max,
            slow_after: Duration::from_millis(config.slow_call_ms),
        }
    }

    /// How many calls may begin now.
    pub(super) fn free(&self) -> usize {
        self.calls.available_permits()
    }

    pub(super) fn slow_calls(&self) -> u16 {
        let free = u16::try_from(self.slow_calls.available_permits()).unwrap_or(u16::MAX);
        self.slow_calls_max.saturating_sub(free)
    }

    /// Takes one of the free slots.
    pub(super) fn take(&self) -> Slot {
        let permit = Arc::clone(&self.calls).try_acquire_owned();
        Slot {
            permit: permit.expect("no more bills are claimed than slots are free"),
            slow_calls: Arc::clone(&self.slow_calls),
            slow_after: self.slow_after,
        }
    }
}

impl Slot {
    /// Makes the call, and moves to a slot for slow calls if it takes long.
    pub(super) async fn hold_during<T>(mut self, call: impl Future<Output = T>) -> (T, Self) {
        let mut call = std::pin::pin!(call);
        if let Ok(result) = tokio::time::timeout(self.slow_after, &mut call).await {
            return (result, self);
        }
        if let Ok(permit) = Arc::clone(&self.slow_calls).try_acquire_owned() {
            self.permit = permit;
        }
        (call.await, self)
    }
}
