//! The rows of `bill_attempts`: what the provider said to each call, for whoever looks or audits.

use std::collections::BTreeMap;

use diesel::QueryResult;
use diesel::sql_types::{Array, Integer, Nullable, Text, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use outbox::statement;
use uuid::Uuid;

use crate::domain::{Next, Verdict};
use crate::record::{Called, Decided};

/// Attempts by bill, call and number: the later answer stands where two meet in a batch, which one
/// statement could not write.
#[derive(Default)]
pub(super) struct Attempts<'a>(BTreeMap<(Uuid, &'static str, i32), Attempt<'a>>);

struct Attempt<'a> {
    called: &'a Called,
    verdict: &'static str,
}

impl<'a> Attempts<'a> {
    pub(super) fn add(&mut self, decided: &'a Decided, verdict: Verdict) {
        let Some(called) = &decided.called else {
            return;
        };
        let bill = &decided.bill;
        let number = i32::try_from(bill.tries.attempts).unwrap_or(i32::MAX);
        let key = (bill.request.payment_id, bill.call.label(), number);
        let verdict = match (verdict, &decided.next) {
            (Verdict::Record, Next::Wait { .. }) => "unspent",
            (Verdict::Record, _) => "recorded",
            (Verdict::Stale, _) => "stale",
            (Verdict::Contradiction, _) => "contradiction",
        };
        self.0.insert(key, Attempt { called, verdict });
    }

    /// Step 3. The number of a row is that of an attempt, not of a call: rows of a bill are bounded by
    /// its attempts, however long an outage is.
    pub(super) async fn write(&self, conn: &mut AsyncPgConnection) -> QueryResult<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let mut columns = AttemptColumns::default();
        for (key, attempt) in &self.0 {
            columns.push(*key, attempt);
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
        .bind::<Array<SqlUuid>, _>(columns.payments)
        .bind::<Array<Text>, _>(columns.calls)
        .bind::<Array<Integer>, _>(columns.numbers)
        .bind::<Array<Integer>, _>(columns.took_ms)
        .bind::<Array<Text>, _>(columns.outcomes)
        .bind::<Array<Text>, _>(columns.verdicts)
        .bind::<Array<Nullable<Text>>, _>(columns.details)
        .execute(conn)
        .await?;
        Ok(())
    }
}

#[derive(Default)]
struct AttemptColumns<'a> {
    payments: Vec<Uuid>,
    calls: Vec<&'static str>,
    numbers: Vec<i32>,
    took_ms: Vec<i32>,
    outcomes: Vec<&'static str>,
    verdicts: Vec<&'static str>,
    details: Vec<Option<&'a str>>,
}

impl<'a> AttemptColumns<'a> {
    fn push(&mut self, key: (Uuid, &'static str, i32), attempt: &Attempt<'a>) {
        let (payment_id, call, number) = key;
        let called = attempt.called;
        self.payments.push(payment_id);
        self.calls.push(call);
        self.numbers.push(number);
        self.took_ms
            .push(i32::try_from(called.took.as_millis()).unwrap_or(i32::MAX));
        self.outcomes.push(called.outcome);
        self.verdicts.push(attempt.verdict);
        self.details.push(called.detail.as_deref());
    }
}
