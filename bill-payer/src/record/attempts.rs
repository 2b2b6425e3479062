//! The rows of `bill_attempts`: the result of each call, for operators and the audit.

use std::collections::BTreeMap;

use diesel::QueryResult;
use diesel::sql_types::{Integer, Nullable, Text, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use outbox::statement;
use uuid::Uuid;

use crate::domain::{NextStep, Verdict};
use crate::record::{CallRecord, Decision};

/// Attempts by bill, call and number. Where two results of one attempt meet in a batch, the later one stands: one
/// statement could not write both.
#[derive(Default)]
pub(super) struct Attempts<'a>(BTreeMap<(Uuid, &'static str, i32), Attempt<'a>>);

struct Attempt<'a> {
    call: &'a CallRecord,
    verdict: &'static str,
}

impl<'a> Attempts<'a> {
    pub(super) fn add(&mut self, decision: &'a Decision, verdict: Verdict) {
        let Some(call) = &decision.call else {
            return;
        };
        let bill = &decision.bill;
        let number = i32::try_from(bill.attempt_state.attempts).unwrap_or(i32::MAX);
        let key = (bill.request.payment_id, bill.call.into_str(), number);
        let verdict = match (verdict, &decision.next) {
            (Verdict::Record, NextStep::Wait { .. }) => "unspent",
            (Verdict::Record, _) => "recorded",
            (Verdict::Stale, _) => "stale",
            (Verdict::Contradiction, _) => "contradiction",
        };
        self.0.insert(key, Attempt { call, verdict });
    }

    /// Step 3. The number of a row is that of an attempt, not of a call: rows of a bill are bounded by
    /// its attempts, however long an outage is.
    pub(super) async fn write(&self, conn: &mut AsyncPgConnection) -> QueryResult<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        statement(
            "insert into bill_attempts \
             (payment_id, call, attempt, took_ms, outcome, verdict, detail) \
             select * from unnest($1, $2, $3, $4, $5, $6, $7) \
             on conflict (payment_id, call, attempt) do update set \
                 times = bill_attempts.times + 1, answered_at = excluded.answered_at, \
                 took_ms = excluded.took_ms, outcome = excluded.outcome, \
                 verdict = excluded.verdict, detail = excluded.detail",
        )
        .column::<SqlUuid, _, _>(self.0.keys(), |(payment_id, _, _)| *payment_id)
        .column::<Text, _, _>(self.0.keys(), |(_, call, _)| *call)
        .column::<Integer, _, _>(self.0.keys(), |(_, _, number)| *number)
        .column::<Integer, _, _>(self.0.values(), |attempt| {
            i32::try_from(attempt.call.took.as_millis()).unwrap_or(i32::MAX)
        })
        .column::<Text, _, _>(self.0.values(), |attempt| attempt.call.outcome)
        .column::<Text, _, _>(self.0.values(), |attempt| attempt.verdict)
        .column::<Nullable<Text>, _, _>(self.0.values(), |attempt| attempt.call.detail.as_deref())
        .execute(conn)
        .await?;
        Ok(())
    }
}
