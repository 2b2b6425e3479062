//! Recording what came of calls: the hot transaction, of every answer that has come in meanwhile.
//!
//! | step | statement | lock taken | why in this order |
//! | --- | --- | --- | --- |
//! | 1 | `select bills ... for no key update` | the bills, in payment id order | two executors that have called for the same bill can't deadlock, and what [`judge`] sees stays so |
//! | 2 | `update bills` | held since 1 | only the bills that [`judge`] lets move |
//! | 3 | `insert bill_attempts` | its rows; their bills are held since 1 | every call that has ended, also those that changed nothing |
//! | 4 | `pg_advisory_xact_lock` | the wallets of result events, in id order | until the commit nobody else appends for these wallets: `seq` order is commit order for each |
//! | 5 | `insert outbox` | its rows | last, as [`outbox::append`] asks: one event for each bill that 2 has ended |
//! | 6 | `commit` | releases all | a bill, its attempts and its event are there together, or none is |

pub(crate) mod again;
mod attempts;

use std::collections::BTreeMap;
use std::time::Duration;

use chassis::Traceparent;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Nullable, Text, Uuid as SqlUuid};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl};
use events::{BILL_AGGREGATE, BillPaid, BillPaymentFailed, BillPaymentRequested, Payee};
use outbox::{AppendError, NewEvent, statement};
use serde::Serialize;
use uuid::Uuid;

use crate::SERVICE;
use crate::domain::{Claim, Next, Status, Verdict, judge};
use crate::record::attempts::Attempts;
use crate::schema::bills;
use crate::store::{ClaimedBill, milliseconds};

/// What is to be recorded of a call.
#[derive(Debug, Clone)]
pub struct Decided {
    /// The bill as it was claimed.
    pub bill: ClaimedBill,
    /// What becomes of it.
    pub next: Next,
    /// How long until its next call, if there is one.
    pub wait: Duration,
    /// The call that it comes from; none if crashes had used the attempts up and no call was made.
    pub called: Option<Called>,
}

/// A call that has ended.
#[derive(Debug, Clone)]
pub struct Called {
    /// From its beginning to the answer, or until it was given up.
    pub took: Duration,
    /// [`Answer::label`](crate::domain::Answer::label).
    pub outcome: &'static str,
    /// [`Answer::detail`](crate::domain::Answer::detail).
    pub detail: Option<String>,
}

/// What was recorded; of one transaction, the bills that moved are in payment id order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Bills that moved, and where to.
    pub moved: Vec<(Uuid, Status)>,
    /// Answers that came too late to change anything.
    pub stale: Vec<Uuid>,
    /// Bills that have ended the other way than the answer says.
    pub contradictions: Vec<Uuid>,
}

impl Recorded {
    /// Adds what another transaction recorded.
    pub(crate) fn add(&mut self, other: Self) {
        self.moved.extend(other.moved);
        self.stale.extend(other.stale);
        self.contradictions.extend(other.contradictions);
    }
}

/// Why nothing was recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The database refused.
    #[error("recording answers")]
    Database(#[from] diesel::result::Error),
    /// The result events could not be appended.
    #[error("recording answers")]
    Append(#[from] AppendError),
}

/// Records `decided`, all of it or nothing. Dropped half-way it has recorded all or nothing, too; to
/// record the same again changes nothing.
///
/// # Errors
/// [`RecordError`]; nothing was recorded.
pub async fn record(
    conn: &mut AsyncPgConnection,
    decided: &[Decided],
) -> Result<Recorded, RecordError> {
    conn.transaction(async |conn| {
        let mut current = lock(conn, decided).await?;
        let (changes, attempts, recorded) = changes(decided, &mut current);
        update(conn, &changes).await?;
        attempts.write(conn).await?;
        let events = changes.values().filter_map(|change| {
            let bill = &change.decided.bill;
            result_event(&bill.request, bill.traceparent, &change.decided.next)
        });
        let events: Vec<NewEvent> = events.collect();
        lock_wallets(conn, &events).await?;
        outbox::append(conn, events).await?;
        Ok(recorded)
    })
    .await
}

/// A bill as step 1 finds it.
struct Current {
    status: Status,
    claim: Option<Uuid>,
}

/// Step 1.
async fn lock(
    conn: &mut AsyncPgConnection,
    decided: &[Decided],
) -> QueryResult<BTreeMap<Uuid, Current>> {
    let ids: Vec<Uuid> = decided
        .iter()
        .map(|decided| decided.bill.request.payment_id)
        .collect();
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

/// What the decisions change, one change a bill, and the attempts they come from. Two answers for one bill meet in a batch when its
/// lease ended while the database was away: the later one sees what the earlier one made of it.
fn changes<'a>(
    decided: &'a [Decided],
    current: &mut BTreeMap<Uuid, Current>,
) -> (BTreeMap<Uuid, Change<'a>>, Attempts<'a>, Recorded) {
    let mut changes = BTreeMap::new();
    let mut attempts = Attempts::default();
    let mut recorded = Recorded::default();
    for decided in decided {
        let payment_id = decided.bill.request.payment_id;
        // A bill that is gone was deleted by hand.
        let Some(current) = current.get_mut(&payment_id) else {
            recorded.stale.push(payment_id);
            continue;
        };
        let claim = if current.claim == Some(decided.bill.claim) {
            Claim::Held
        } else {
            Claim::Lost
        };
        let verdict = judge(current.status, claim, &decided.next);
        attempts.add(decided, verdict);
        match verdict {
            Verdict::Stale => recorded.stale.push(payment_id),
            Verdict::Contradiction => recorded.contradictions.push(payment_id),
            Verdict::Record => {
                let status = decided.next.status(current.status);
                *current = Current {
                    status,
                    claim: None,
                };
                changes.insert(payment_id, Change { decided, status });
            }
        }
    }
    let moved = changes.iter().map(|(id, change)| (*id, change.status));
    recorded.moved = moved.collect();
    (changes, attempts, recorded)
}

struct Change<'a> {
    decided: &'a Decided,
    status: Status,
}

impl Change<'_> {
    /// Whether the call has used an attempt up.
    fn counts(&self) -> bool {
        !matches!(self.decided.next, Next::Wait { .. })
    }

    /// Whether the deadline counts from now on.
    fn fails(&self) -> bool {
        match &self.decided.next {
            Next::Retry { .. } => true,
            Next::Wait { .. } => self.status == Status::Cancelling,
            Next::Paid { .. }
            | Next::Failed { .. }
            | Next::BeginCancelling { .. }
            | Next::Parked { .. } => false,
        }
    }

    fn receipt(&self) -> Option<&str> {
        match &self.decided.next {
            Next::Paid { receipt } => Some(receipt),
            Next::Failed { .. }
            | Next::Retry { .. }
            | Next::Wait { .. }
            | Next::BeginCancelling { .. }
            | Next::Parked { .. } => None,
        }
    }

    fn error(&self) -> Option<String> {
        match &self.decided.next {
            Next::Paid { .. } => None,
            Next::Failed { reason } => Some(reason.clone()),
            Next::Retry { why, .. }
            | Next::Wait { why, .. }
            | Next::BeginCancelling { why }
            | Next::Parked { why } => Some(why.to_string()),
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
    .column::<Text, _, _>(changes.values(), |change| change.status.as_str())
    .column::<Bool, _, _>(changes.values(), Change::counts)
    .column::<Bool, _, _>(changes.values(), Change::fails)
    .column::<BigInt, _, _>(changes.values(), |change| milliseconds(change.decided.wait))
    .column::<Nullable<Text>, _, _>(changes.values(), Change::receipt)
    .column::<Nullable<Text>, _, _>(changes.values(), Change::error)
    .execute(conn)
    .await?;
    Ok(())
}

/// Step 4.
async fn lock_wallets(conn: &mut AsyncPgConnection, events: &[NewEvent]) -> QueryResult<()> {
    let mut wallets: Vec<&str> = events.iter().map(|it| it.aggregate_id.as_str()).collect();
    wallets.sort_unstable();
    wallets.dedup();
    if wallets.is_empty() {
        return Ok(());
    }
    // A function's rows come in the order of its array, and so do the locks.
    statement(
        "select pg_advisory_xact_lock(hashtextextended(wallet_id, 0)) \
         from unnest($1) as wallet (wallet_id)",
    )
    .bind::<Array<Text>, _>(wallets)
    .execute(conn)
    .await?;
    Ok(())
}

/// The event of a bill that has ended.
fn result_event(
    request: &BillPaymentRequested,
    traceparent: Traceparent,
    next: &Next,
) -> Option<NewEvent> {
    let payee = Some(Payee {
        provider: request.provider.clone(),
        account_number: request.account_number.clone(),
    });
    let (event_type, payload) = match next {
        Next::Paid { receipt } => (
            BillPaid::TYPE,
            json(&BillPaid {
                payment_id: request.payment_id,
                wallet_id: request.wallet_id,
                money: request.money,
                receipt: receipt.clone(),
                payee,
            }),
        ),
        Next::Failed { reason } => (
            BillPaymentFailed::TYPE,
            json(&BillPaymentFailed {
                payment_id: request.payment_id,
                wallet_id: request.wallet_id,
                money: request.money,
                reason: reason.clone(),
                payee,
            }),
        ),
        Next::Retry { .. }
        | Next::Wait { .. }
        | Next::BeginCancelling { .. }
        | Next::Parked { .. } => return None,
    };
    Some(NewEvent {
        id: Uuid::now_v7(),
        aggregate_type: BILL_AGGREGATE,
        aggregate_id: request.wallet_id.to_string(),
        event_type,
        source: SERVICE,
        traceparent: traceparent.child().to_string(),
        payload,
    })
}

fn json(event: &impl Serialize) -> serde_json::Value {
    serde_json::to_value(event).expect("an event is JSON by its type")
}
