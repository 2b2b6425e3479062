//! The event of a bill that has ended, and the locks that put the events of a wallet in order.

use chassis::TraceContext;
use diesel::QueryResult;
use diesel::sql_types::{Array, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use events::{BILL_AGGREGATE, BillPaid, BillPaymentFailed, BillPaymentRequested, Payee};
use outbox::{NewEvent, statement};
use serde::Serialize;
use uuid::Uuid;

use crate::SERVICE;
use crate::domain::NextStep;

/// Step 4.
pub(super) async fn lock_wallets(
    conn: &mut AsyncPgConnection,
    events: &[NewEvent],
) -> QueryResult<()> {
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
pub(super) fn result_event(
    request: &BillPaymentRequested,
    trace: &TraceContext,
    next: &NextStep,
) -> Option<NewEvent> {
    let payee = Some(Payee {
        provider: request.provider.clone(),
        account_number: request.account_number.clone(),
    });
    let (event_type, payload) = match next {
        NextStep::Paid { receipt } => (
            BillPaid::TYPE,
            json(&BillPaid {
                payment_id: request.payment_id,
                wallet_id: request.wallet_id,
                money: request.money,
                receipt: receipt.clone(),
                payee,
            }),
        ),
        NextStep::Failed { reason } => (
            BillPaymentFailed::TYPE,
            json(&BillPaymentFailed {
                payment_id: request.payment_id,
                wallet_id: request.wallet_id,
                money: request.money,
                reason: reason.clone(),
                payee,
            }),
        ),
        NextStep::Retry { .. }
        | NextStep::Wait { .. }
        | NextStep::BeginCancelling { .. }
        | NextStep::Parked { .. } => return None,
    };
    Some(NewEvent {
        id: Uuid::now_v7(),
        aggregate_type: BILL_AGGREGATE,
        aggregate_id: request.wallet_id.to_string(),
        event_type,
        source: SERVICE,
        traceparent: trace.traceparent(),
        tracestate: trace.tracestate(),
        payload,
    })
}

fn json(event: &impl Serialize) -> serde_json::Value {
    serde_json::to_value(event).expect("an event is JSON by its type")
}
