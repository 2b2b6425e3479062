//! The provider's HTTP answers, route by route. Every error is an RFC 9457 problem.
//!
//! A request that can't be read is a 400, never a 422: that is the provider's business decision.

use std::time::{Duration, Instant};

use chassis::problem::StatusCode;
use chassis::{Problem, Traceparent, telemetry};
use serde::Serialize;
use serde_json::json;
use tracing::{error, info};
use uuid::Uuid;
use wiremock::Request;

use crate::behaviour::Behaviour;
use crate::input;
use crate::journal::AppendError;
use crate::ledger::{Call, Outcome, Payment, Status};
use crate::memory::{Answered, BehaveError, CallResult};
use crate::server::Shared;

/// What a handler answers.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: Vec<u8>,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// How long to hold the answer back.
    pub(crate) wait: Duration,
}

pub(crate) type Handler = fn(&Shared, &Request) -> Result<Answer, Problem>;

/// A method on a path; `{reference}` stands for one segment.
pub(crate) struct Route {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) handler: Handler,
}

/// Everything that is served.
pub(crate) static ROUTES: [Route; 10] = [
    route("POST", "/payments", pay),
    route("GET", "/payments", list),
    route("DELETE", "/payments", forget),
    route("GET", "/payments/{reference}", show),
    route("POST", "/payments/{reference}/cancel", cancel),
    route("GET", "/behaviour", behaviour),
    route("PUT", "/behaviour", behave),
    route("GET", "/livez", livez),
    route("GET", "/readyz", readyz),
    route("GET", "/metrics", metrics),
];

const fn route(method: &'static str, path: &'static str, handler: Handler) -> Route {
    Route {
        method,
        path,
        handler,
    }
}

impl Route {
    /// Whether a request's path is this route's.
    pub(crate) fn has_path(&self, request: &Request) -> bool {
        let mut segments = request.url.path().split('/');
        self.path.split('/').all(|own| {
            let segment = segments.next();
            segment == Some(own)
                || (own == "{reference}" && segment.is_some_and(|it| !it.is_empty()))
        }) && segments.next().is_none()
    }
}

impl Answer {
    fn json(status: StatusCode, body: &impl Serialize) -> Self {
        Self {
            status: status.as_u16(),
            content_type: "application/json",
            body: serde_json::to_vec(body).expect("an answer is JSON by its type"),
            headers: Vec::new(),
            wait: Duration::ZERO,
        }
    }
}

impl From<Problem> for Answer {
    fn from(problem: Problem) -> Self {
        Self {
            status: problem.status(),
            content_type: "application/problem+json",
            body: serde_json::to_vec(&problem).expect("a problem is JSON by its type"),
            headers: problem
                .retry_after_s()
                .map(|seconds| ("retry-after", seconds.to_string()))
                .into_iter()
                .collect(),
            wait: Duration::ZERO,
        }
    }
}

fn pay(provider: &Shared, request: &Request) -> Result<Answer, Problem> {
    let trace = input::traceparent(request);
    let call = Call {
        reference: input::idempotency_key(request)?,
        bill: input::bill(request)?,
        traceparent: trace.map(|trace| trace.to_string()),
    };
    let reference = call.reference.clone();

    let mut state = provider.state_to_change()?;
    let receipt = format!("receipt-{}", Uuid::now_v7());
    let roll = state.memory.seeded_roll(&call);
    let answered = state
        .memory
        .pay(call, roll.unwrap_or_else(rand::random), receipt)
        .map_err(|error| not_written(&error))?;
    if !answered.lost {
        state.answers_due = state.answers_due.max(Instant::now() + answered.wait);
    }
    drop(state);

    let Answered { result, wait, .. } = answered;
    let (outcome, answer) = match result {
        CallResult::ServerError => ("server_error", told_to_fail()),
        CallResult::Decided(outcome, payment) => (word(outcome), decided(outcome, &payment)),
    };
    info!(
        trace_id = trace.unwrap_or_else(Traceparent::start).trace_id(),
        reference,
        outcome,
        status = answer.status,
        wait_ms = wait.as_millis(),
        "payment call"
    );
    metrics::counter!("provider_calls_total", "outcome" => outcome).increment(1);
    Ok(Answer { wait, ..answer })
}

fn list(provider: &Shared, request: &Request) -> Result<Answer, Problem> {
    let (limit, before) = input::page(request)?;
    let state = provider.state();
    let ledger = state.memory.ledger();
    let page = ledger.page(limit, before);
    let payments: Vec<PaymentJson<'_>> = page.payments.into_iter().map(payment_json).collect();
    let body = json!({
        "calls": ledger.calls(),
        "accepted": ledger.accepted(),
        "payments": payments,
        "next_before": page.next_before,
    });
    Ok(Answer::json(StatusCode::OK, &body))
}

fn forget(provider: &Shared, _: &Request) -> Result<Answer, Problem> {
    let mut state = provider.state_to_change()?;
    state.memory.forget().map_err(|error| not_written(&error))?;
    Ok(Answer {
        status: StatusCode::NO_CONTENT.as_u16(),
        content_type: "",
        body: Vec::new(),
        headers: Vec::new(),
        wait: Duration::ZERO,
    })
}

fn show(provider: &Shared, request: &Request) -> Result<Answer, Problem> {
    let reference = input::path_reference(request)?;
    let state = provider.state();
    match state.memory.ledger().find(reference) {
        Some(payment) => Ok(Answer::json(StatusCode::OK, &payment_json(payment))),
        None => Err(Problem::not_found("payment", reference)),
    }
}

fn cancel(provider: &Shared, request: &Request) -> Result<Answer, Problem> {
    let reference = input::path_reference(request)?;
    let payment = {
        let mut state = provider.state_to_change()?;
        let cancelled = state.memory.cancel(reference);
        cancelled.map_err(|error| not_written(&error))?
    };
    info!(
        trace_id = input::traceparent(request)
            .unwrap_or_else(Traceparent::start)
            .trace_id(),
        reference,
        status = ?payment.status,
        "cancellation"
    );
    // The whole bill: a caller compares it with the one that it asks about.
    Ok(Answer::json(StatusCode::OK, &accepted_json(&payment)))
}

fn behaviour(provider: &Shared, _: &Request) -> Result<Answer, Problem> {
    let state = provider.state();
    Ok(Answer::json(StatusCode::OK, state.memory.behaviour()))
}

fn behave(provider: &Shared, request: &Request) -> Result<Answer, Problem> {
    let behaviour: Behaviour = input::json(request)?;
    let mut state = provider.state_to_change()?;
    state
        .memory
        .behave(behaviour)
        .map_err(|error| match error {
            BehaveError::Invalid(error) => input::invalid(error.to_string()),
            BehaveError::Append(error) => not_written(&error),
        })?;
    let behaviour = state.memory.behaviour();
    info!(?behaviour, "behaviour set");
    Ok(Answer::json(StatusCode::OK, behaviour))
}

fn livez(_: &Shared, _: &Request) -> Result<Answer, Problem> {
    Ok(Answer::json(StatusCode::OK, &json!({ "status": "live" })))
}

fn readyz(provider: &Shared, _: &Request) -> Result<Answer, Problem> {
    let state = provider.state();
    let (status, word, journal) = match state.memory.journal_failure() {
        None => (StatusCode::OK, "ready", "ok"),
        Some(failure) => (StatusCode::SERVICE_UNAVAILABLE, "not ready", failure),
    };
    let body = json!({ "status": word, "checks": { "journal": journal } });
    Ok(Answer::json(status, &body))
}

fn metrics(provider: &Shared, _: &Request) -> Result<Answer, Problem> {
    Ok(Answer {
        status: StatusCode::OK.as_u16(),
        content_type: "text/plain; charset=utf-8",
        body: provider.render_metrics().into_bytes(),
        headers: Vec::new(),
        wait: Duration::ZERO,
    })
}

/// The answer to a method that a path does not have.
pub(crate) fn method_not_allowed(_: &Shared, request: &Request) -> Result<Answer, Problem> {
    let path = request.url.path();
    let allowed = ROUTES.iter().filter(|route| route.has_path(request));
    let allowed: Vec<&str> = allowed.map(|route| route.method).collect();
    let mut answer = Answer::from(Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        "Method not allowed",
        format!(
            "{} can't be used on {path}; the Allow header lists what can",
            request.method
        ),
    ));
    answer.headers.push(("allow", allowed.join(", ")));
    Ok(answer)
}

/// The answer on a path that is nobody's.
pub(crate) fn unknown_route(_: &Shared, request: &Request) -> Result<Answer, Problem> {
    Err(Problem::not_found("route", request.url.path()))
}

fn told_to_fail() -> Answer {
    Answer::from(Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "provider-failed",
        "The provider has failed",
        "as it was told to by PUT /behaviour; nothing was done",
    ))
}

/// What the caller is told when a change can't be kept: it has not happened.
fn not_written(failure: &AppendError) -> Problem {
    error!("answering 503: {}", telemetry::chain(failure));
    Problem::unavailable("the journal can't be written; nothing was done")
}

/// What a decided call is told. An accepted payment's answer is the same each time, but for its status.
fn decided(outcome: Outcome, payment: &Payment) -> Answer {
    let refused =
        |status, slug, title, detail| Answer::from(Problem::new(status, slug, title, detail));
    match outcome {
        Outcome::Accepted => Answer::json(StatusCode::CREATED, &accepted_json(payment)),
        Outcome::Repeated => Answer::json(StatusCode::OK, &accepted_json(payment)),
        Outcome::Declined => refused(
            StatusCode::UNPROCESSABLE_ENTITY,
            "payment-declined",
            "The payment was declined",
            "declined for good; no money was taken",
        ),
        Outcome::Cancelled => refused(
            StatusCode::UNPROCESSABLE_ENTITY,
            "payment-cancelled",
            "The payment was cancelled",
            "the caller has cancelled it; no money was taken, nor will be",
        ),
        Outcome::KeyReused => refused(
            StatusCode::CONFLICT,
            "key-reused",
            "The idempotency key was reused",
            "the key stands for a payment with another body; take a new key for a new payment",
        ),
    }
}

const fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Accepted => "accepted",
        Outcome::Repeated => "repeated",
        Outcome::Declined => "declined",
        Outcome::Cancelled => "cancelled",
        Outcome::KeyReused => "key_reused",
    }
}

/// A payment as it is listed.
#[derive(Serialize)]
struct PaymentJson<'a> {
    #[serde(flatten)]
    accepted: AcceptedJson<'a>,
    calls: u64,
    traceparent: Option<&'a str>,
}

/// What the caller of an accepted or cancelled payment is told.
#[derive(Serialize)]
struct AcceptedJson<'a> {
    reference: &'a str,
    status: Status,
    receipt: Option<&'a str>,
    amount: Option<&'a str>,
    currency: Option<&'a str>,
    provider: Option<&'a str>,
    account_number: Option<&'a str>,
}

fn payment_json(payment: &Payment) -> PaymentJson<'_> {
    PaymentJson {
        accepted: accepted_json(payment),
        calls: payment.calls,
        traceparent: payment.traceparent.as_deref(),
    }
}

fn accepted_json(payment: &Payment) -> AcceptedJson<'_> {
    let bill = payment.bill.as_ref();
    AcceptedJson {
        reference: &payment.reference,
        status: payment.status,
        receipt: payment.receipt.as_deref(),
        amount: bill.map(|bill| bill.amount.as_str()),
        currency: bill.map(|bill| bill.currency.as_str()),
        provider: bill.map(|bill| bill.provider.as_str()),
        account_number: bill.map(|bill| bill.account_number.as_str()),
    }
}
