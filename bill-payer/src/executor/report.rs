//! The log lines and metrics of calls and of what was recorded.

use std::time::Duration;

use chassis::spans;
use tracing::{Span, debug, error, info};

use crate::domain::{CallResult, Status, UnknownCause};
use crate::record::RecordSummary;
use crate::store::ClaimedBill;

pub(super) fn report_call(bill: &ClaimedBill, result: &CallResult, elapsed: Duration, span: &Span) {
    let call = bill.call.into_str();
    let outcome = result.label();
    metrics::counter!("provider_calls_total", "call" => call, "outcome" => outcome).increment(1);
    metrics::histogram!("provider_call_duration_seconds", "call" => call).record(elapsed);
    let cause = result.cause();
    if cause.is_some() {
        spans::failed(span, outcome);
    }
    info!(
        payment_id = %bill.request.payment_id,
        trace_id = %bill.trace.trace_id(),
        call,
        attempt = bill.attempt_state.attempts,
        outcome,
        elapsed_ms = elapsed.as_millis(),
        why = cause.map(ToString::to_string),
        "provider called"
    );
    if let Some(cause @ (UnknownCause::Refused { .. } | UnknownCause::Unreadable(_))) = cause {
        error!(
            payment_id = %bill.request.payment_id,
            "{cause}: check PROVIDER_URL, and whether the provider still keeps the contract"
        );
    }
}

pub(super) fn report_recorded(summary: &RecordSummary) {
    for (payment_id, status) in &summary.moved {
        metrics::counter!("bills_recorded_total", "status" => status.into_str()).increment(1);
        match status {
            Status::Parked => error!(%payment_id, "bill parked: an operator has to decide"),
            Status::Paying | Status::Cancelling | Status::Paid | Status::Failed => {
                debug!(%payment_id, %status, "bill recorded");
            }
        }
    }
    for payment_id in &summary.stale {
        metrics::counter!("bills_stale_answers_total").increment(1);
        debug!(%payment_id, "the result came too late to change the bill");
    }
    for payment_id in &summary.contradictions {
        metrics::counter!("bills_contradictions_total").increment(1);
        error!(
            %payment_id,
            "the provider contradicts itself: the bill has ended the other way; compare it with the provider"
        );
    }
}
