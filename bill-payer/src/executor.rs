//! Paying bills: claims those that are due, calls the provider for many at a time, records the results.
//!
//! Promises: no more calls at a time than [`ExecutorConfig::calls_in_flight_max`] and
//! [`ExecutorConfig::slow_calls_max`] together; a hung call blocks no other call; while the provider is away it gets a
//! probe now and then, and no bill uses an attempt up; a result is recorded before its slot is used again; a result that
//! can't be recorded now is kept and recorded later, and if the process dies first, the bill comes back when its
//! lease ends and the provider is asked again under the same idempotency key.

mod outage;
mod report;
mod slots;

use std::sync::Arc;
use std::time::{Duration, Instant};

use chassis::database::{Connection, Failure, Pool, PoolError, classify};
use chassis::{Backoff, RepeatedError, telemetry};
use outbox::AppendError;
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, error, warn};

use crate::config::ExecutorConfig;
use crate::domain::{CallResult, NextStep, Policy, ProviderState, UnknownCause, decide};
use crate::executor::outage::Outages;
use crate::executor::report::{report_call, report_recorded};
use crate::executor::slots::{Slot, Slots};
use crate::provider::Provider;
use crate::record::{self, CallRecord, Decision, RecordError, RecordSummary};
use crate::store::{self, ClaimedBill};

/// How often to look for bills that are due. The intake wakes the executor for new ones, so this is how
/// much later than planned a bill is tried again, at most, or a bill that another process has left.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Failures of unknown kind in a row, after which results are recorded one by one.
const UNKNOWN_FAILURES_MAX: u32 = 5;

/// How long to wait before a round that failed is tried again.
const ROUND_RETRY: Backoff = Backoff {
    first: Duration::from_millis(50),
    max: Duration::from_secs(2),
};

/// How long calls in flight have to end once the service is to stop, and then how long the last
/// record may take. Together less than [`chassis::service::STOP_WITHIN`].
const DRAIN_WITHIN: Duration = Duration::from_secs(5);
const LAST_RECORD_WITHIN: Duration = Duration::from_secs(2);

/// Claims bills, calls the provider and records the results.
pub struct Executor {
    pool: Pool,
    provider: Provider,
    config: ExecutorConfig,
    policy: Policy,
    outages: Outages,
    slots: Slots,
    new_bills: Arc<Notify>,
    calls: JoinSet<EndedCall>,
    /// Not recorded yet.
    decisions: Vec<Decision>,
    /// Failures in a row to record them.
    unknown_failures: u32,
    /// Cancelled when calls in flight are not waited for any longer.
    give_up: CancellationToken,
}

struct FinishedCall {
    bill: ClaimedBill,
    result: CallResult,
    /// `None` if crashes had used the attempts up and no call was made.
    took: Option<Duration>,
}

/// A call that has ended still holds its slot: the slot is free when the result is among the decisions, which are
/// recorded before the next claim.
type EndedCall = (FinishedCall, Slot);

/// What a round did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Round {
    pub recorded: RecordSummary,
    /// Bills that were claimed, and whose calls have begun.
    pub claimed: usize,
}

/// Why a round went no further. Results that were not recorded are kept for the next round.
#[derive(Debug, thiserror::Error)]
pub enum RoundError {
    #[error("connecting to the database")]
    Pool(#[from] PoolError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("claiming bills")]
    Claim(#[source] diesel::result::Error),
}

impl Executor {
    /// Returns an executor that `new_bills` wakes.
    #[must_use]
    pub fn new(
        config: ExecutorConfig,
        pool: Pool,
        provider: Provider,
        new_bills: Arc<Notify>,
    ) -> Self {
        Self {
            pool,
            provider,
            policy: config.policy(),
            outages: Outages::new(&config),
            slots: Slots::new(&config),
            config,
            new_bills,
            calls: JoinSet::new(),
            decisions: Vec::new(),
            unknown_failures: 0,
            give_up: CancellationToken::new(),
        }
    }

    /// Pays bills until `stop`, then lets the calls in flight end and records their results.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let errors = RepeatedError::of("paying bills");
        let mut failures = 0;
        while !stop.is_cancelled() {
            match self.run_once().await {
                Ok(_) => {
                    failures = 0;
                    errors.succeeded();
                    stop.run_until_cancelled(self.wait()).await;
                }
                Err(error) => {
                    failures += 1;
                    errors.failed(telemetry::chain(&error));
                    let wait = ROUND_RETRY.wait(failures);
                    stop.run_until_cancelled(tokio::time::sleep(wait)).await;
                }
            }
        }
        self.drain().await;
        Ok(())
    }

    /// Records the results so far, claims bills for the free slots and begins their calls.
    pub async fn run_once(&mut self) -> Result<Round, RoundError> {
        self.keep_finished_calls();
        let mut conn = self.pool.get().await?;
        let recorded = self.record(&mut conn).await?;
        let bills = self.claim(&mut conn, self.slots.free()).await;
        let bills = bills.map_err(RoundError::Claim)?;
        drop(conn);
        let claimed = bills.len();
        for bill in bills {
            self.begin(bill);
        }
        let in_flight = u32::try_from(self.calls.len()).unwrap_or(u32::MAX);
        metrics::gauge!("provider_calls_in_flight").set(f64::from(in_flight));
        metrics::gauge!("provider_slow_calls").set(f64::from(self.slots.slow_calls()));
        Ok(Round { recorded, claimed })
    }

    /// Claims as many bills of each call as may begin now, at most `free`.
    async fn claim(
        &self,
        conn: &mut Connection,
        free: usize,
    ) -> diesel::QueryResult<Vec<ClaimedBill>> {
        let mut bills: Vec<ClaimedBill> = Vec::new();
        for (call, max) in self.outages.may_begin() {
            let max = max.min(free.saturating_sub(bills.len()));
            if max == 0 {
                continue;
            }
            match store::claim(conn, call, max, self.config.lease()).await {
                Ok(claimed) => bills.extend(claimed),
                // The bills that are claimed already would wait for their lease.
                Err(error) if bills.is_empty() => return Err(error),
                Err(error) => warn!("claiming bills: {}", telemetry::chain(&error)),
            }
        }
        Ok(bills)
    }

    /// Waits until there is something to do: a call has ended, bills have arrived, or it is time to look.
    /// Cancel-safe.
    pub async fn wait(&mut self) {
        if self.decisions.is_empty() {
            tokio::select! {
                Some(ended) = self.calls.join_next() => self.keep(ended),
                () = self.new_bills.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Begins the call of a bill, unless crashes have used its attempts up.
    fn begin(&mut self, bill: ClaimedBill) {
        debug!(
            payment_id = %bill.request.payment_id,
            trace_id = %bill.trace.trace_id(),
            call = ?bill.call,
            attempt = bill.attempt_state.attempts,
            "bill claimed"
        );
        let attempts = bill.attempt_state.attempts;
        match bill.call.result_of_exhaustion(attempts, self.policy) {
            Some(result) => self.add_decision(FinishedCall {
                bill,
                result,
                took: None,
            }),
            None => {
                self.outages.call_begins(bill.call);
                let called = call(self.provider.clone(), bill, self.give_up.clone());
                self.calls.spawn(self.slots.take().hold_during(called));
            }
        }
    }

    fn keep_finished_calls(&mut self) {
        while let Some(ended) = self.calls.try_join_next() {
            self.keep(ended);
        }
    }

    fn keep(&mut self, ended: Result<EndedCall, JoinError>) {
        match ended {
            Ok((call, _slot)) => self.add_decision(call),
            // The bill comes back when its lease ends.
            Err(panic) => {
                error!("a call of the provider panicked: {panic}");
                self.outages.call_lost();
            }
        }
    }

    fn add_decision(&mut self, call: FinishedCall) {
        let FinishedCall { bill, result, took } = call;
        // What the result says about the provider.
        let provider_state = match took {
            Some(_) => self.outages.call_ended(bill.call, &result),
            None => ProviderState::Available,
        };
        // What it says about the bill.
        let call = took.map(|took| CallRecord {
            took,
            outcome: result.label(),
            detail: result.detail(),
        });
        let next = decide(bill.attempt_state, result, provider_state, self.policy);
        let wait = match &next {
            NextStep::Retry { failures, cause } | NextStep::Wait { failures, cause } => {
                let asked_for = cause.retry_after(self.config.retry_after_max());
                self.config.backoff().wait(*failures).max(asked_for)
            }
            NextStep::Paid { .. }
            | NextStep::Failed { .. }
            | NextStep::BeginCancelling { .. }
            | NextStep::Parked { .. } => Duration::ZERO,
        };
        self.decisions.push(Decision {
            bill,
            next,
            wait,
            call,
        });
    }

    /// Records the decisions. Cancel-safe: to record the same again changes nothing.
    async fn record(&mut self, conn: &mut Connection) -> Result<RecordSummary, RecordError> {
        if self.decisions.is_empty() {
            return Ok(RecordSummary::default());
        }
        let recorded = match record::record(conn, &self.decisions).await {
            Ok(recorded) => recorded,
            Err(error) => match failure(&error) {
                Failure::Retry => return Err(error),
                Failure::Unknown if self.unknown_failures < UNKNOWN_FAILURES_MAX => {
                    self.unknown_failures += 1;
                    return Err(error);
                }
                Failure::Unknown | Failure::Reject => return self.record_one_by_one(conn).await,
            },
        };
        self.unknown_failures = 0;
        self.decisions.clear();
        report_recorded(&recorded);
        Ok(recorded)
    }

    /// Records all decisions but those that the database refuses: these would block the others for ever.
    async fn record_one_by_one(
        &mut self,
        conn: &mut Connection,
    ) -> Result<RecordSummary, RecordError> {
        let mut all = RecordSummary::default();
        while let Some(decision) = self.decisions.last() {
            match record::record(conn, std::slice::from_ref(decision)).await {
                Ok(recorded) => {
                    report_recorded(&recorded);
                    all.add(recorded);
                }
                Err(error) => match failure(&error) {
                    Failure::Retry => return Err(error),
                    // The bill comes back when its lease ends, and is parked in the end.
                    Failure::Unknown | Failure::Reject => error!(
                        payment_id = %decision.bill.request.payment_id,
                        next = ?decision.next,
                        "the result can't be recorded: {}",
                        telemetry::chain(&error)
                    ),
                },
            }
            self.decisions.pop();
        }
        self.unknown_failures = 0;
        Ok(all)
    }

    /// Waits for the calls in flight, recording as they end; calls that take too long are given up and
    /// recorded as such, so that their bills come back at once and not when their lease ends.
    async fn drain(&mut self) {
        let deadline = tokio::time::Instant::now() + DRAIN_WITHIN;
        let drained = tokio::time::timeout_at(deadline, async {
            while let Some(ended) = self.calls.join_next().await {
                self.keep(ended);
                self.keep_finished_calls();
                self.record_last().await;
            }
        });
        if drained.await.is_err() {
            self.give_up.cancel();
            while let Some(ended) = self.calls.join_next().await {
                self.keep(ended);
            }
        }
        let last = tokio::time::timeout(LAST_RECORD_WITHIN, self.record_last());
        if last.await.is_err() {
            warn!("stopping without a record of the last results: their bills come back");
        }
    }

    async fn record_last(&mut self) {
        let recorded = async {
            let mut conn = self.pool.get().await?;
            Ok::<_, RoundError>(self.record(&mut conn).await?)
        };
        if let Err(error) = recorded.await {
            warn!("recording while stopping: {}", telemetry::chain(&error));
        }
    }
}

/// Calls the provider; ends within the provider's timeout, or when the call is given up.
async fn call(provider: Provider, bill: ClaimedBill, give_up: CancellationToken) -> FinishedCall {
    let begun = Instant::now();
    let span = provider.span(&bill);
    // From here the provider continues the trace, and so does the event of the result.
    let trace = bill.trace.at(&span);
    let bill = ClaimedBill { trace, ..bill };
    let called = give_up.run_until_cancelled(provider.call(&bill));
    let result = called.instrument(span.clone()).await;
    let result = result.unwrap_or_else(|| bill.call.unknown(UnknownCause::Stopped));
    let took = begun.elapsed();
    report_call(&bill, &result, took, &span);
    FinishedCall {
        bill,
        result,
        took: Some(took),
    }
}

fn failure(error: &RecordError) -> Failure {
    match error {
        RecordError::Database(error) | RecordError::Append(AppendError::Database(error)) => {
            classify(error)
        }
        RecordError::Append(AppendError::OutsideTransaction) => Failure::Reject,
    }
}
