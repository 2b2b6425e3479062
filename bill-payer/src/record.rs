//! Recording what became of calls: the hot transaction, for all results since the last one.
//!
//! | step | statement | lock taken | why in this order |
//! | --- | --- | --- | --- |
//! | 1 | `select bills ... for no key update` | the bills, in payment id order | two executors that have called for the same bill can't deadlock, and what [`judge`] sees stays so |
//! | 2 | `update bills` | held since 1 | only the bills that [`judge`] lets move |
//! | 3 | `insert bill_attempts` | its rows; their bills are held since 1 | every call that has ended, also those that changed nothing |
//! | 4 | `pg_advisory_xact_lock` | the wallets of result events, in id order | until the commit nobody else appends for these wallets: `seq` order is commit order for each |
//! | 5 | `insert outbox` | its rows | last, as [`outbox::append`] asks: one event for each bill that 2 has ended |
//! | 6 | `commit` | releases all | a bill, its attempts and its event appear together, or not at all |

mod attempts;
pub(crate) mod repeated_results;
mod result_event;

use std::collections::BTreeMap;
use std::time::Duration;

use chassis::spans;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable, Text, Uuid as SqlUuid};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl};
use outbox::{AppendError, NewEvent, statement};
use uuid::Uuid;

use crate::domain::{Claim, NextStep, Status, Verdict, judge};
use crate::record::attempts::Attempts;
use crate::record::result_event::{lock_wallets, result_event};
use crate::schema::bills;
use crate::store::{ClaimedBill, milliseconds};

/// What is to be recorded of a call.
#[derive(Debug, Clone)]
pub struct Decision {
    /// The bill as it was claimed.
    pub bill: ClaimedBill,
    pub next: NextStep,
    /// How long until the bill's next call, if there is one.
    pub wait: Duration,
    /// `None` if crashes had used the attempts up and no call was made.
    pub call: Option<CallRecord>,
}

/// What an attempt's row keeps of a call.
#[derive(Debug, Clone)]
pub struct CallRecord {
    /// From the call's beginning to its result.
    pub took: Duration,
    /// [`CallResult::label`](crate::domain::CallResult::label).
    pub outcome: &'static str,
    /// [`CallResult::detail`](crate::domain::CallResult::detail).
    pub detail: Option<String>,
}

/// What was recorded.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RecordSummary {
    /// Bills that moved, and where to; of one transaction, in payment id order.
    pub moved: Vec<(Uuid, Status)>,
    /// Bills whose result came too late to change anything.
    pub stale: Vec<Uuid>,
    /// Bills that have ended the other way than the result says.
    pub contradictions: Vec<Uuid>,
}

impl RecordSummary {
    pub(crate) fn add(&mut self, other: Self) {
        self.moved.extend(other.moved);
        self.stale.extend(other.stale);
        self.contradictions.extend(other.contradictions);
    }
}

/// Why nothing was recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("recording results")]
    Database(#[from] diesel::result::Error),
    #[error("recording results")]
    Append(#[from] AppendError),
}

/// Records `decisions`, all of them or none, also if dropped half-way. To record the same again changes nothing.
pub async fn record(
    conn: &mut AsyncPgConnection,
    decisions: &[Decision],
) -> Result<RecordSummary, RecordError> {
    let traces = decisions.iter().map(|decision| decision.bill.trace.clone());
    let span = spans::transaction("record results", decisions.len(), traces);
    let transaction = conn.transaction(async |conn| {
        let mut current = lock(conn, decisions).await?;
        let (changes, attempts, summary) = changes(decisions, &mut current);
        update(conn, &changes).await?;
        attempts.write(conn).await?;
        let events = changes.values().filter_map(|change| {
            let bill = &change.decision.bill;
            result_event(&bill.request, &bill.trace, &change.decision.next)
        });
        let events: Vec<NewEvent> = events.collect();
        lock_wallets(conn, &events).await?;
        outbox::append(conn, events).await?;
        Ok(summary)
    });
    spans::within(span, transaction).await
}

/// A bill as step 1 finds it.
struct Current {
    status: Status,
    claim: Option<Uuid>,
}

/// Step 1.
async fn lock(
    conn: &mut AsyncPgConnection,
    decisions: &[Decision],
) -> QueryResult<BTreeMap<Uuid, Current>> {
    let ids = decisions.iter().map(|it| it.bill.request.payment_id);
    let rows: Vec<(Uuid, String, Option<Uuid>)> = bills::table
        .filter(bills::payment_id.eq_any(ids))
        .order(bills::payment_id)
        .select((bills::payment_id, bills::status, bills::claim))
        .for_no_key_update()
        .load(conn)
        .await?;
    let current = rows.into_iter().map(|(id, status, claim)| {
        let status = status
            .parse()
            .map_err(|error| diesel::result::Error::DeserializationError(Box::new(error)))?;
        Ok((id, Current { status, claim }))
    });
    current.collect()
}

/// Judges the decisions: what they change, one change a bill, and the attempts they come from.
///
/// Two results for one bill meet in a batch when its lease ended while the database was away: the later one sees what
/// the earlier one made of the bill.
fn changes<'a>(
    decisions: &'a [Decision],
    current: &mut BTreeMap<Uuid, Current>,
) -> (BTreeMap<Uuid, Change<'a>>, Attempts<'a>, RecordSummary) {
    let mut changes = BTreeMap::new();
    let mut attempts = Attempts::default();
    let mut summary = RecordSummary::default();
    for decision in decisions {
        let payment_id = decision.bill.request.payment_id;
        // A bill that is gone was deleted by hand.
        let Some(current) = current.get_mut(&payment_id) else {
            summary.stale.push(payment_id);
            continue;
        };
        let claim = if current.claim == Some(decision.bill.claim) {
            Claim::Held
        } else {
            Claim::Lost
        };
        let verdict = judge(current.status, claim, &decision.next);
        attempts.add(decision, verdict);
        match verdict {
            Verdict::Stale => summary.stale.push(payment_id),
            Verdict::Contradiction => summary.contradictions.push(payment_id),
            Verdict::Record => {
                let status = decision.next.status(current.status);
                *current = Current {
                    status,
                    claim: None,
                };
                changes.insert(payment_id, Change { decision, status });
            }
        }
    }
    let moved = changes.iter().map(|(id, change)| (*id, change.status));
    summary.moved = moved.collect();
    (changes, attempts, summary)
}

struct Change<'a> {
    decision: &'a Decision,
    status: Status,
}

impl Change<'_> {
    /// Whether the call has used an attempt up.
    fn counts(&self) -> bool {
        !matches!(self.decision.next, NextStep::Wait { .. })
    }

    /// Whether the deadline counts from now on.
    fn fails(&self) -> bool {
        match &self.decision.next {
            NextStep::Retry { .. } => true,
            NextStep::Wait { .. } => self.status == Status::Cancelling,
            NextStep::Paid { .. }
            | NextStep::Failed { .. }
            | NextStep::BeginCancelling { .. }
            | NextStep::Parked { .. } => false,
        }
    }

    fn receipt(&self) -> Option<&str> {
        match &self.decision.next {
            NextStep::Paid { receipt } => Some(receipt),
            NextStep::Failed { .. }
            | NextStep::Retry { .. }
            | NextStep::Wait { .. }
            | NextStep::BeginCancelling { .. }
            | NextStep::Parked { .. } => None,
        }
    }

    fn error(&self) -> Option<String> {
        match &self.decision.next {
            NextStep::Paid { .. } => None,
            NextStep::Failed { reason } => Some(reason.clone()),
            NextStep::Retry { cause, .. }
            | NextStep::Wait { cause, .. }
            | NextStep::BeginCancelling { cause }
            | NextStep::Parked { cause } => Some(cause.to_string()),
        }
    }
}

/// Step 2.
async fn update(
    conn: &mut AsyncPgConnection,
    changes: &BTreeMap<Uuid, Change<'_>>,
) -> QueryResult<()> {
    if changes.is_empty() {
        return Ok(());
    }
    statement(
        "update bills set status = change.status, claim = null, \
             attempts = case when change.status <> bills.status and change.status = 'cancelling' \
                 then 0 when change.counts then attempts else attempts - 1 end, \
             failing_since = case when change.status <> bills.status then null \
                 when change.fails then coalesce(failing_since, now()) else failing_since end, \
             next_attempt_at = now() + change.wait_ms * interval '1 millisecond', \
             receipt = change.receipt, \
             last_error = coalesce(change.error, last_error), \
             updated_at = now() \
         from unnest($1, $2, $3, $4, $5, $6, $7) \
             as change (payment_id, status, counts, fails, wait_ms, receipt, error) \
         where bills.payment_id = change.payment_id",
    )
    .column::<SqlUuid, _, _>(changes.keys(), |payment_id| *payment_id)
    .column::<Text, _, _>(changes.values(), |change| change.status.into_str())
    .column::<Bool, _, _>(changes.values(), Change::counts)
    .column::<Bool, _, _>(changes.values(), Change::fails)
    .column::<BigInt, _, _>(changes.values(), |change| {
        milliseconds(change.decision.wait)
    })
    .column::<Nullable<Text>, _, _>(changes.values(), Change::receipt)
    .column::<Nullable<Text>, _, _>(changes.values(), Change::error)
    .execute(conn)
    .await?;
    Ok(())
}
