//! The W3C trace context that follows a payment from the HTTP request, through the outbox row and the
//! Kafka headers, to the provider's request.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{SpanContext, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{IdGenerator as _, RandomIdGenerator};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The header that names the trace and the span, in requests, responses and messages.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The header of what tracing systems add to it.
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// A longer `tracestate` is dropped; the standard asks for so many bytes.
const TRACESTATE_BYTES_MAX: usize = 512;

/// A place in a trace, of which the next spans are children.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext(SpanContext);

impl TraceContext {
    /// A new trace, sampled.
    #[must_use]
    pub fn start() -> Self {
        let ids = RandomIdGenerator::default();
        Self(SpanContext::new(
            ids.new_trace_id(),
            ids.new_span_id(),
            TraceFlags::SAMPLED,
            true,
            TraceState::NONE,
        ))
    }

    /// Reads the texts of the two headers; an empty one is missing. Returns `None` if `traceparent` is invalid.
    #[must_use]
    pub fn read(traceparent: &str, tracestate: &str) -> Option<Self> {
        // The propagator accepts shorter numbers, and signs.
        let lengths = traceparent.split('-').map(str::len).take(4);
        if !lengths.eq([2, 32, 16, 2]) || traceparent.contains('+') {
            return None;
        }
        // What neither a column nor an HTTP header takes is dropped.
        let is_text = |byte: u8| byte == b'\t' || (b' '..=b'~').contains(&byte);
        let is_kept = tracestate.len() <= TRACESTATE_BYTES_MAX && tracestate.bytes().all(is_text);
        let context = TraceContextPropagator::new().extract(&Headers {
            traceparent,
            tracestate: if is_kept { tracestate } else { "" },
        });
        let context = context.span().span_context().clone();
        context.is_valid().then_some(Self(context))
    }

    /// Reads the headers of a message. A lost trace is no reason not to pay: without a valid one, a trace starts here.
    #[must_use]
    pub fn of_message(traceparent: &str, tracestate: &str) -> Self {
        Self::read(traceparent, tracestate).unwrap_or_else(Self::start)
    }

    /// Reads the headers of a request.
    #[must_use]
    pub fn of_request(headers: &HeaderMap) -> Option<Self> {
        // A list may come in several headers. Two of `traceparent` make none.
        let text = |name| {
            let values = headers.get_all(name).iter();
            let values: Vec<&str> = values.filter_map(|it| it.to_str().ok()).collect();
            values.join(",")
        };
        Self::read(&text(TRACEPARENT), &text(TRACESTATE))
    }

    /// The place of `span` in this trace; the same place if no spans are exported.
    #[must_use]
    pub fn at(self, span: &Span) -> Self {
        Self::of_span(span).unwrap_or(self)
    }

    /// The place of `span` in its trace, if spans are exported.
    pub(crate) fn of_span(span: &Span) -> Option<Self> {
        if span.is_disabled() {
            return None;
        }
        let context = span.context().span().span_context().clone();
        context.is_valid().then_some(Self(context))
    }

    pub(crate) fn into_span_context(self) -> SpanContext {
        self.0
    }

    /// The text of the header `traceparent`.
    #[must_use]
    pub fn traceparent(&self) -> String {
        let (trace, span) = (self.0.trace_id(), self.0.span_id());
        format!("00-{trace}-{span}-{:02x}", self.0.trace_flags())
    }

    /// The text of the header `tracestate`; often empty.
    #[must_use]
    pub fn tracestate(&self) -> String {
        self.0.trace_state().header()
    }

    /// The headers of a request that continues the trace.
    #[must_use]
    pub fn headers(&self) -> HeaderMap {
        let texts = [
            (TRACEPARENT, self.traceparent()),
            (TRACESTATE, self.tracestate()),
        ];
        let headers = texts.into_iter().filter(|(_, text)| !text.is_empty());
        headers
            .filter_map(|(name, text)| Some((name, HeaderValue::try_from(text).ok()?)))
            .collect()
    }

    /// The 32 hex digits that all spans of the trace share; what to search the logs for.
    #[must_use]
    pub fn trace_id(&self) -> TraceId {
        self.0.trace_id()
    }
}

struct Headers<'a> {
    traceparent: &'a str,
    tracestate: &'a str,
}

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => Some(self.traceparent),
            "tracestate" => Some(self.tracestate),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const IDS: &str = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331";

    fn read(traceparent: &str) -> Option<String> {
        TraceContext::read(traceparent, "").map(|trace| trace.traceparent())
    }

    #[test]
    fn reads_back_what_it_writes() {
        let trace = TraceContext::read(EXAMPLE, "congo=t61rcWkgMzE,rojo=00f067").unwrap();
        assert_eq!(trace.traceparent(), EXAMPLE);
        assert_eq!(trace.tracestate(), "congo=t61rcWkgMzE,rojo=00f067");
        assert_eq!(
            trace.trace_id().to_string(),
            "0af7651916cd43dd8448eb211c80319c"
        );
        let started = TraceContext::start();
        assert_eq!(read(&started.traceparent()), Some(started.traceparent()));
    }

    #[test]
    fn a_higher_version_is_read_as_version_00() {
        for (version, flags, more, known) in [
            ("01", "01", "", "01"),
            ("01", "01", "-what-the-future-brings", "01"),
            ("cc", "00", "-", "00"),
            ("fe", "ff", "", "01"),
            ("00", "03", "", "01"),
        ] {
            let text = format!("{version}-{IDS}-{flags}{more}");
            assert_eq!(read(&text), Some(format!("00-{IDS}-{known}")), "{text}");
        }
    }

    #[test]
    fn refuses_what_the_standard_refuses() {
        for text in [
            "",
            "00-a-b-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "0x-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "1-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.more",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "01-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_tracestate_that_can_t_be_carried_is_dropped_and_the_trace_stays() {
        let long = format!("a={},b={},c=1", "x".repeat(256), "x".repeat(256));
        for tracestate in [long.as_str(), "no-value", "nul=\0", "latin=é", "A=1"] {
            let trace = TraceContext::read(EXAMPLE, tracestate).unwrap();
            assert_eq!(trace.tracestate(), "", "{tracestate}");
        }
    }

    #[test]
    fn a_request_may_have_its_tracestate_in_several_headers_and_one_traceparent() {
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, EXAMPLE.parse().unwrap());
        headers.append(TRACESTATE, "congo=t61".parse().unwrap());
        headers.append(TRACESTATE, "rojo=00f".parse().unwrap());
        let trace = TraceContext::of_request(&headers).unwrap();
        assert_eq!(trace.tracestate(), "congo=t61,rojo=00f");
        headers.append(TRACEPARENT, EXAMPLE.parse().unwrap());
        assert_eq!(TraceContext::of_request(&headers), None);
    }
}
