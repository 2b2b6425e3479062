//! The provider's HTTP API, route by route. Every error is an RFC 9457 problem.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chassis::problem::StatusCode;
use chassis::{Problem, TraceContext, telemetry};
use serde::Serialize;
use serde_json::{Value, json};
use tracing::{error, info};
use wiremock::Request;

use crate::behaviour::Behaviour;
use crate::journal::AppendError;
use crate::ledger::{Call, Outcome, Payment};
use crate::request;
use crate::state::{BehaveError, State};

/// What the handlers share.
pub(crate) struct Shared {
    pub(crate) state: Mutex<State>,
    pub(crate) render_metrics: Box<dyn Fn() -> String + Send + Sync>,
}

impl Shared {
    /// The state, to read.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock panics; if something did, the journal would still be right.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, to change.
    fn state_to_change(&self) -> Result<MutexGuard<'_, State>, Problem> {
        let state = self.state();
        state.check_open()?;
        Ok(state)
    }
}

pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) content_type: &'static str,
    pub(crate) body: Vec<u8>,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// How long to hold the response back.
    pub(crate) wait: Duration,
}

impl Reply {
    const fn new(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Self {
        Self {
            status,
            content_type,
            body,
            headers: Vec::new(),
            wait: Duration::ZERO,
        }
    }

    fn json(status: StatusCode, body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).expect("a reply is JSON by its type");
        Self::new(status, "application/json", body)
    }
}

impl From<Problem> for Reply {
    fn from(problem: Problem) -> Self {
        let status = StatusCode::from_u16(problem.status()).expect("a problem has a valid status");
        let mut reply = Self::json(status, &problem);
        reply.content_type = "application/problem+json";
        let seconds = problem.retry_after_s();
        reply.headers = Vec::from_iter(seconds.map(|it| ("retry-after", it.to_string())));
        reply
    }
}

type Handler = fn(&Shared, &Request) -> Result<Reply, Problem>;

/// A method on a path; `{reference}` stands for one segment.
type Route = (&'static str, &'static str, Handler);

static ROUTES: [Route; 10] = [
    ("POST", "/payments", pay),
    ("GET", "/payments", list),
    ("DELETE", "/payments", forget),
    ("GET", "/payments/{reference}", show),
    ("POST", "/payments/{reference}/cancel", cancel),
    ("GET", "/behaviour", behaviour),
    ("PUT", "/behaviour", behave),
    ("GET", "/livez", livez),
    ("GET", "/readyz", readyz),
    ("GET", "/metrics", metrics),
];

/// Finds the route of a request; what no route serves is a 405 or a 404.
pub(crate) fn find(request: &Request) -> Route {
    let mut on_path = ROUTES
        .iter()
        .filter(|(_, path, _)| matches(path, request))
        .peekable();
    if on_path.peek().is_none() {
        return ("other", "unknown", unknown_route);
    }
    let route = on_path.find(|(method, ..)| request.method.as_str() == *method);
    *route.unwrap_or(&("other", "known", method_not_allowed))
}

fn matches(path: &str, request: &Request) -> bool {
    let mut segments = request.url.path().split('/');
    path.split('/').all(|own| {
        let segment = segments.next();
        segment == Some(own) || (own == "{reference}" && segment.is_some_and(|it| !it.is_empty()))
    }) && segments.next().is_none()
}

fn pay(shared: &Shared, request: &Request) -> Result<Reply, Problem> {
    let trace = TraceContext::of_request(&request.headers);
    let reference = request::idempotency_key(request)?;
    let call = Call {
        reference: reference.clone(),
        bill: request::bill(request)?,
        traceparent: trace.as_ref().map(TraceContext::traceparent),
    };
    let mut state = shared.state_to_change()?;
    let (outcome, wait) = state.pay(call).map_err(|error| not_written(&error))?;
    let reply = reply_to_call(outcome, state.ledger().find(&reference));
    let outcome: &'static str = outcome.into();
    info!(
        trace_id = trace.map(|trace| trace.trace_id().to_string()),
        reference,
        outcome,
        status = reply.status.as_u16(),
        wait_ms = wait.as_millis(),
        "payment call"
    );
    metrics::counter!("provider_calls_total", "outcome" => outcome).increment(1);
    Ok(Reply { wait, ..reply })
}

/// The response for a call. An accepted payment's is the same each time, but for its status.
fn reply_to_call(outcome: Outcome, payment: Option<&Payment>) -> Reply {
    const DECLINED: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;
    let payment = payment.map(payment_json);
    let (status, slug, title, detail) = match outcome {
        Outcome::Accepted => return Reply::json(StatusCode::CREATED, &payment),
        Outcome::Repeated => return Reply::json(StatusCode::OK, &payment),
        Outcome::ServerError => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "provider-failed",
            "The provider has failed",
            "as it was told to by PUT /behaviour; nothing was done",
        ),
        Outcome::Declined => (
            DECLINED,
            "payment-declined",
            "The payment was declined",
            "declined for good; no money was taken",
        ),
        Outcome::Cancelled => (
            DECLINED,
            "payment-cancelled",
            "The payment was cancelled",
            "the caller has cancelled it; no money was taken, nor will be",
        ),
        Outcome::KeyReused => (
            StatusCode::CONFLICT,
            "key-reused",
            "The idempotency key was reused",
            "the key stands for a payment with another body; take a new key for a new payment",
        ),
    };
    Problem::new(status, slug, title, detail).into()
}

fn list(shared: &Shared, request: &Request) -> Result<Reply, Problem> {
    let (limit, before) = request::page(request)?;
    let state = shared.state();
    let ledger = state.ledger();
    let page = ledger.page(limit, before);
    let body = json!({
        "calls": ledger.calls(),
        "accepted": ledger.accepted(),
        "payments": Vec::from_iter(page.payments.into_iter().map(listed)),
        "next_before": page.next_before,
    });
    Ok(Reply::json(StatusCode::OK, &body))
}

fn forget(shared: &Shared, _: &Request) -> Result<Reply, Problem> {
    let forgotten = shared.state_to_change()?.forget();
    forgotten.map_err(|error| not_written(&error))?;
    Ok(Reply::new(StatusCode::NO_CONTENT, "", Vec::new()))
}

fn show(shared: &Shared, request: &Request) -> Result<Reply, Problem> {
    let reference = request::path_reference(request)?;
    match shared.state().ledger().find(reference) {
        Some(payment) => Ok(Reply::json(StatusCode::OK, &listed(payment))),
        None => Err(Problem::not_found("payment", reference)),
    }
}

fn cancel(shared: &Shared, request: &Request) -> Result<Reply, Problem> {
    let reference = request::path_reference(request)?;
    let mut state = shared.state_to_change()?;
    let cancelled = state.cancel(reference);
    cancelled.map_err(|error| not_written(&error))?;
    let payment = state.ledger().find(reference);
    let trace = TraceContext::of_request(&request.headers);
    let status = payment.map(|payment| payment.status);
    info!(
        trace_id = trace.map(|trace| trace.trace_id().to_string()),
        reference,
        ?status,
        "cancellation"
    );
    // The whole bill: a caller compares it with the one that it asks about.
    Ok(Reply::json(StatusCode::OK, &payment.map(payment_json)))
}

fn behaviour(shared: &Shared, _: &Request) -> Result<Reply, Problem> {
    Ok(Reply::json(StatusCode::OK, shared.state().behaviour()))
}

fn behave(shared: &Shared, request: &Request) -> Result<Reply, Problem> {
    let behaviour: Behaviour = request::json(request)?;
    let mut state = shared.state_to_change()?;
    state.behave(behaviour).map_err(|error| match error {
        BehaveError::Invalid(error) => request::invalid(error.to_string()),
        BehaveError::Append(error) => not_written(&error),
    })?;
    info!(behaviour = ?state.behaviour(), "behaviour set");
    Ok(Reply::json(StatusCode::OK, state.behaviour()))
}

fn livez(_: &Shared, _: &Request) -> Result<Reply, Problem> {
    Ok(Reply::json(StatusCode::OK, &json!({ "status": "live" })))
}

fn readyz(shared: &Shared, _: &Request) -> Result<Reply, Problem> {
    let state = shared.state();
    let (status, word, journal) = match state.journal_failure() {
        None => (StatusCode::OK, "ready", "ok"),
        Some(failure) => (StatusCode::SERVICE_UNAVAILABLE, "not ready", failure),
    };
    let body = json!({ "status": word, "checks": { "journal": journal } });
    Ok(Reply::json(status, &body))
}

fn metrics(shared: &Shared, _: &Request) -> Result<Reply, Problem> {
    let text = (shared.render_metrics)().into_bytes();
    Ok(Reply::new(
        StatusCode::OK,
        "text/plain; charset=utf-8",
        text,
    ))
}

fn method_not_allowed(_: &Shared, request: &Request) -> Result<Reply, Problem> {
    let path = request.url.path();
    let method = &request.method;
    let allowed = ROUTES.iter().filter(|(_, path, _)| matches(path, request));
    let allowed: Vec<&str> = allowed.map(|(method, ..)| *method).collect();
    let mut reply = Reply::from(Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        "Method not allowed",
        format!("{method} can't be used on {path}; the Allow header lists what can"),
    ));
    reply.headers.push(("allow", allowed.join(", ")));
    Ok(reply)
}

fn unknown_route(_: &Shared, request: &Request) -> Result<Reply, Problem> {
    Err(Problem::not_found("route", request.url.path()))
}

/// The response when a change can't be kept: it has not happened.
fn not_written(failure: &AppendError) -> Problem {
    error!("responding 503: {}", telemetry::chain(failure));
    Problem::unavailable("the journal can't be written; nothing was done")
}

/// A payment as its caller sees it.
fn payment_json(payment: &Payment) -> Value {
    let bill = payment.bill.as_ref();
    json!({
        "reference": payment.reference,
        "status": payment.status,
        "receipt": payment.receipt,
        "amount": bill.map(|bill| &bill.amount),
        "currency": bill.map(|bill| &bill.currency),
        "provider": bill.map(|bill| &bill.provider),
        "account_number": bill.map(|bill| &bill.account_number),
    })
}

/// A payment as the provider's own list shows it.
#[derive(Serialize)]
struct ListedPayment<'a> {
    #[serde(flatten)]
    payment: Value,
    calls: u64,
    traceparent: Option<&'a str>,
}

fn listed(payment: &Payment) -> ListedPayment<'_> {
    ListedPayment {
        payment: payment_json(payment),
        calls: payment.calls,
        traceparent: payment.traceparent.as_deref(),
    }
}
