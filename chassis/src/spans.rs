//! The spans that are exported: their names and attributes, by OpenTelemetry's semantic conventions.
//!
//! Where nothing is exported nobody listens to [`TARGET`]: the spans are disabled, and their arguments not looked at.
//!
//! A span that is about one payment continues its trace. A span that is about several begins a trace of its own, with a
//! link to each of theirs.

use axum::http::StatusCode;
use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt as _;
use reqwest::Url;
use tracing::field::Empty;
use tracing::{Instrument as _, Span, debug, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::TraceContext;

/// What the exporter takes, and the log leaves out.
pub(crate) const TARGET: &str = "otel";

/// Links of a span at most.
pub(crate) const LINKS_MAX: u32 = 512;

/// A request that is served, on a route such as `/payments/{id}`.
#[must_use]
pub fn server(method: &str, route: &str, path: &str, caller: Option<&TraceContext>) -> Span {
    let span = info_span!(
        target: TARGET,
        "server",
        otel.kind = "server",
        otel.name = %format_args!("{method} {route}"),
        otel.status_code = Empty,
        error.type = Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
        url.path = path,
        url.scheme = "http",
    );
    join(&span, caller.into_iter().cloned());
    span
}

/// The response of a [`server`] or to a [`client`]. Whether it is a failure is said by [`failed`].
pub fn responded(span: &Span, status: StatusCode) {
    span.record("http.response.status_code", status.as_u16());
}

/// A failure, by a word such as `timeout`. To be called once: what is recorded again is exported twice.
pub fn failed(span: &Span, error_type: &str) {
    span.record("error.type", error_type);
    span.record("otel.status_code", "error");
}

/// Does `work` in `span`, which fails when the work does.
///
/// # Errors
/// Those of `work`.
pub async fn within<T, E>(span: Span, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let result = work.instrument(span.clone()).await;
    if result.is_err() {
        // What the conventions have for an error without a word of its own.
        failed(&span, "_OTHER");
    }
    result
}

/// A request that is made: a POST to `url` of `host`, whose path is like `/payments/{id}/cancel`.
#[must_use]
pub fn client(host: &Url, path: &str, url: &str, trace: &TraceContext) -> Span {
    let span = info_span!(
        target: TARGET,
        "client",
        otel.kind = "client",
        otel.name = %format_args!("POST {path}"),
        otel.status_code = Empty,
        error.type = Empty,
        http.request.method = "POST",
        http.response.status_code = Empty,
        server.address = host.host_str(),
        server.port = host.port_or_known_default(),
        url.full = url,
        url.template = path,
    );
    join(&span, [trace.clone()].into_iter());
    span
}

/// A transaction about so many `payments`.
pub fn transaction(
    name: &'static str,
    payments: usize,
    traces: impl Iterator<Item = TraceContext>,
) -> Span {
    let span = info_span!(
        target: TARGET,
        "transaction",
        otel.kind = "client",
        otel.name = name,
        otel.status_code = Empty,
        error.type = Empty,
        db.system.name = "postgresql",
        db.operation.batch.size = batch(payments),
    );
    join(&span, traces);
    span
}

/// Publishing `messages` to a topic. Their headers name the requests that caused them, and not this span.
pub fn send(topic: &str, messages: usize, traces: impl Iterator<Item = TraceContext>) -> Span {
    let span = info_span!(
        target: TARGET,
        "send",
        otel.kind = "client",
        otel.name = %format_args!("send {topic}"),
        otel.status_code = Empty,
        error.type = Empty,
        messaging.system = "kafka",
        messaging.destination.name = topic,
        messaging.operation.name = "send",
        messaging.operation.type = "send",
        messaging.batch.message_count = batch(messages),
    );
    join(&span, traces);
    span
}

/// Taking `messages` of a topic, as a member of a group. It ends when they have taken effect or are dead letters.
pub fn process(
    topic: &str,
    group: &str,
    messages: usize,
    traces: impl Iterator<Item = TraceContext>,
) -> Span {
    let span = info_span!(
        target: TARGET,
        "process",
        otel.kind = "consumer",
        otel.name = %format_args!("process {topic}"),
        messaging.system = "kafka",
        messaging.destination.name = topic,
        messaging.consumer.group.name = group,
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.batch.message_count = batch(messages),
    );
    join(&span, traces);
    span
}

/// The conventions count batches only.
fn batch(size: usize) -> Option<u64> {
    u64::try_from(size).ok().filter(|size| *size > 1)
}

fn join(span: &Span, mut traces: impl Iterator<Item = TraceContext>) {
    if span.is_disabled() {
        return;
    }
    match (traces.next(), traces.next()) {
        (Some(trace), None) => {
            let parent = Context::new().with_remote_span_context(trace.into_span_context());
            if let Err(error) = span.set_parent(parent) {
                debug!("a span is not part of its trace: {error}");
            }
        }
        (first, second) => {
            let traces = first.into_iter().chain(second).chain(traces);
            for trace in traces.take(usize::try_from(LINKS_MAX).unwrap_or(usize::MAX)) {
                span.add_link(trace.into_span_context());
            }
        }
    }
}
