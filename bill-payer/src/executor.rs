//! Paying bills: claims those that are due, calls the provider for many at a time, records the answers.
//!
//! Promises: no more calls at a time than [`ExecutorConfig::calls_in_flight_max`]; a hung call holds up
//! nobody but itself; while the provider is away it gets a probe now and then, and no bill uses an
//! attempt up; what was heard is recorded before its slot is used again; an answer that can't be
//! recorded now is kept and recorded later, and if the process dies first, the bill comes back when its
//! lease ends and the provider is asked again under the same idempotency key.

mod outage;

use std::sync::Arc;
use std::time::{Duration, Instant};

use chassis::database::{Connection, Failure, Pool, PoolError, classify};
use chassis::{Backoff, RepeatedError, telemetry};
use outbox::AppendError;
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::config::ExecutorConfig;
use crate::domain::{
    Answer, Call, CancelAnswer, Next, Policy, ProviderAnswer, Reach, Status, Why, decide,
};
use crate::executor::outage::Outages;
use crate::provider::Provider;
use crate::record::{self, Called, Decided, RecordError, Recorded};
use crate::store::{self, ClaimedBill};

/// How often to look for bills that are due. The intake wakes the executor for new ones, so this is how
/// much later than planned a bill is tried again at the most, and when another process left bills.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Failures of unknown kind, one after the other, before answers are recorded one by one.
const UNKNOWN_FAILURES_MAX: u32 = 5;

/// How long to wait before a round that failed is tried again.
const ROUND_RETRY: Backoff = Backoff {
    first: Duration::from_millis(50),
    max: Duration::from_secs(2),
};

/// How long calls in flight have to be answered once the service is to stop, and then how long the last
/// record may take. Together less than [`chassis::service::STOP_WITHIN`].
const DRAIN_WITHIN: Duration = Duration::from_secs(5);
const LAST_RECORD_WITHIN: Duration = Duration::from_secs(2);

/// Claims bills, calls the provider and records its answers.
pub struct Executor {
    pool: Pool,
    provider: Provider,
    config: ExecutorConfig,
    policy: Policy,
    outages: Outages,
    new_bills: Arc<Notify>,
    calls: JoinSet<Answered>,
    /// Heard and not recorded yet.
    decided: Vec<Decided>,
    /// Of recording them, one after the other.
    unknown_failures: u32,
    /// Cancelled when calls in flight are not waited for any longer.
    give_up: CancellationToken,
}

/// A call that has ended.
struct Answered {
    bill: ClaimedBill,
    answer: Answer,
    /// How long it took; none if crashes had used the attempts up and it was not made.
    took: Option<Duration>,
}

/// What a round did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// What was recorded of the calls that have ended.
    pub recorded: Recorded,
    /// Bills that were claimed, and whose calls have begun.
    pub claimed: usize,
}

/// Why a round went no further. What was heard is kept for the next one.
#[derive(Debug, thiserror::Error)]
pub enum RoundError {
    /// No connection to the database.
    #[error("connecting to the database")]
    Pool(#[from] PoolError),
    /// See there.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The database refused the claim.
    #[error("claiming bills")]
    Claim(#[source] diesel::result::Error),
}

impl Executor {
    /// An executor that is woken by `new_bills`.
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
            config,
            new_bills,
            calls: JoinSet::new(),
            decided: Vec::new(),
            unknown_failures: 0,
            give_up: CancellationToken::new(),
        }
    }

    /// Pays bills until `stop`, then lets the calls in flight end and records their answers.
    ///
    /// # Errors
    /// None: the signature is that of a service's task.
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

    /// Records what was heard, claims bills for the free slots and begins their calls.
    ///
    /// # Errors
    /// [`RoundError`]; what was not recorded is kept for the next round.
    pub async fn run_once(&mut self) -> Result<Round, RoundError> {
        self.gather();
        let mut conn = self.pool.get().await?;
        let recorded = self.record(&mut conn).await?;
        let free = self.config.slots().saturating_sub(self.calls.len());
        let bills = self.claim(&mut conn, free).await;
        let bills = bills.map_err(RoundError::Claim)?;
        drop(conn);
        let claimed = bills.len();
        for bill in bills {
            self.begin(bill);
        }
        let in_flight = u32::try_from(self.calls.len()).unwrap_or(u32::MAX);
        metrics::gauge!("provider_calls_in_flight").set(f64::from(in_flight));
        Ok(Round { recorded, claimed })
    }

    /// Claims as many bills of each call as may be called for now, `free` at the most.
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
                // Those that are claimed already would wait for their lease.
                Err(error) if bills.is_empty() => return Err(error),
                Err(error) => warn!("claiming bills: {}", telemetry::chain(&error)),
            }
        }
        Ok(bills)
    }

    /// Waits until there is something to do: a call has ended, bills have arrived, or it is time to look.
    /// Cancel-safe.
    pub async fn wait(&mut self) {
        if self.decided.is_empty() {
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
            trace_id = bill.traceparent.trace_id(),
            call = ?bill.call,
            attempt = bill.tries.attempts,
            "bill claimed"
        );
        let exhausted = bill
            .call
            .answered_by_exhaustion(bill.tries.attempts, self.policy);
        match exhausted {
            Some(answer) => self.decide(Answered {
                bill,
                answer,
                took: None,
            }),
            None => {
                self.outages.begin(bill.call);
                let provider = self.provider.clone();
                let give_up = self.give_up.clone();
                self.calls.spawn(call(provider, bill, give_up));
            }
        }
    }

    /// Keeps all calls that have ended by now.
    fn gather(&mut self) {
        while let Some(ended) = self.calls.try_join_next() {
            self.keep(ended);
        }
    }

    fn keep(&mut self, ended: Result<Answered, JoinError>) {
        match ended {
            Ok(answered) => self.decide(answered),
            // Its bill comes back when the lease ends.
            Err(panic) => {
                error!("a call of the provider panicked: {panic}");
                self.outages.lost();
            }
        }
    }

    fn decide(&mut self, answered: Answered) {
        let Answered { bill, answer, took } = answered;
        let reach = match took {
            Some(_) => self.outages.heard(bill.call, &answer),
            None => Reach::There,
        };
        let called = took.map(|took| Called {
            took,
            outcome: answer.label(),
            detail: answer.detail(),
        });
        let next = decide(bill.tries, answer, reach, self.policy);
        let wait = match &next {
            Next::Retry { failures, why } | Next::Wait { failures, why } => {
                let asked = why.retry_after(self.config.retry_after_max());
                self.config.backoff().wait(*failures).max(asked)
            }
            Next::Paid { .. }
            | Next::Failed { .. }
            | Next::BeginCancelling { .. }
            | Next::Parked { .. } => Duration::ZERO,
        };
        self.decided.push(Decided {
            bill,
            next,
            wait,
            called,
        });
    }

    /// Records what was heard. Cancel-safe: to record the same again changes nothing.
    async fn record(&mut self, conn: &mut Connection) -> Result<Recorded, RecordError> {
        if self.decided.is_empty() {
            return Ok(Recorded::default());
        }
        let recorded = match record::record(conn, &self.decided).await {
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
        self.decided.clear();
        report_recorded(&recorded);
        Ok(recorded)
    }

    /// Records all but those that the database refuses: they would block the others for ever.
    async fn record_one_by_one(&mut self, conn: &mut Connection) -> Result<Recorded, RecordError> {
        let mut all = Recorded::default();
        while let Some(decided) = self.decided.last() {
            match record::record(conn, std::slice::from_ref(decided)).await {
                Ok(recorded) => {
                    report_recorded(&recorded);
                    all.add(recorded);
                }
                Err(error) => match failure(&error) {
                    Failure::Retry => return Err(error),
                    // The bill comes back when its lease ends, and is parked in the end.
                    Failure::Unknown | Failure::Reject => error!(
                        payment_id = %decided.bill.request.payment_id,
                        next = ?decided.next,
                        "the answer can't be recorded: {}",
                        telemetry::chain(&error)
                    ),
                },
            }
            self.decided.pop();
        }
        self.unknown_failures = 0;
        Ok(all)
    }

    /// Waits for the calls in flight, recording as they end; those that take too long are given up and
    /// recorded as such, so that their bills come back at once and not when their lease ends.
    async fn drain(&mut self) {
        let deadline = tokio::time::Instant::now() + DRAIN_WITHIN;
        let drained = tokio::time::timeout_at(deadline, async {
            while let Some(ended) = self.calls.join_next().await {
                self.keep(ended);
                self.gather();
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
            warn!("stopping without a record of the last answers: their bills come back");
        }
    }

    async fn record_last(&mut self) {
        let recorded = match self.pool.get().await {
            Ok(mut conn) => match self.record(&mut conn).await {
                Ok(_) => Ok(()),
                Err(error) => Err(RoundError::from(error)),
            },
            Err(error) => Err(error.into()),
        };
        if let Err(error) = recorded {
            warn!("recording while stopping: {}", telemetry::chain(&error));
        }
    }
}

/// One call of the provider; ends within its timeout, or when it is given up.
async fn call(provider: Provider, bill: ClaimedBill, give_up: CancellationToken) -> Answered {
    let begun = Instant::now();
    let answer = match bill.call {
        Call::Pay => {
            let answer = give_up.run_until_cancelled(provider.pay(&bill)).await;
            Answer::ToPay(answer.unwrap_or(ProviderAnswer::Unknown(Why::Stopped)))
        }
        Call::Cancel => {
            let answer = give_up.run_until_cancelled(provider.cancel(&bill)).await;
            Answer::ToCancel(answer.unwrap_or(CancelAnswer::Unknown(Why::Stopped)))
        }
    };
    let took = begun.elapsed();
    report_answer(&bill, &answer, took);
    Answered {
        bill,
        answer,
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

fn report_answer(bill: &ClaimedBill, answer: &Answer, elapsed: Duration) {
    let call = bill.call.label();
    let outcome = answer.label();
    metrics::counter!("provider_calls_total", "call" => call, "outcome" => outcome).increment(1);
    metrics::histogram!("provider_call_duration_seconds", "call" => call).record(elapsed);
    let why = answer.why();
    info!(
        payment_id = %bill.request.payment_id,
        trace_id = bill.traceparent.trace_id(),
        call,
        attempt = bill.tries.attempts,
        outcome,
        elapsed_ms = elapsed.as_millis(),
        why = why.map(ToString::to_string),
        "provider called"
    );
    if let Some(why @ (Why::Refused { .. } | Why::Unreadable(_))) = why {
        error!(
            payment_id = %bill.request.payment_id,
            "{why}: check PROVIDER_URL, and whether the provider still keeps the contract"
        );
    }
}

fn report_recorded(recorded: &Recorded) {
    for (payment_id, status) in &recorded.moved {
        metrics::counter!("bills_recorded_total", "status" => status.as_str()).increment(1);
        match status {
            Status::Parked => error!(%payment_id, "bill parked: an operator has to decide"),
            Status::Paying | Status::Cancelling | Status::Paid | Status::Failed => {
                debug!(%payment_id, %status, "bill recorded");
            }
        }
    }
    for payment_id in &recorded.stale {
        metrics::counter!("bills_stale_answers_total").increment(1);
        debug!(%payment_id, "the answer came too late to change the bill");
    }
    for payment_id in &recorded.contradictions {
        metrics::counter!("bills_contradictions_total").increment(1);
        error!(
            %payment_id,
            "the provider contradicts itself: the bill has ended the other way; compare it with the provider"
        );
    }
}
