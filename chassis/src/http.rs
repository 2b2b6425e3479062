//! The HTTP server and its limits, and extractors that answer every bad request with a [`Problem`].

mod server;
#[cfg(test)]
mod tests;
mod write_timeout;

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::path::ErrorKind;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::{Instrument as _, info, info_span};
use utoipa::ToSchema;

pub(crate) use self::server::serve;
use crate::config::HttpConfig;
use crate::hosts::{self, Hosts};
use crate::trace::TRACEPARENT;
use crate::{Problem, TraceContext, openapi, spans};

/// Bytes of a request's body; a larger one is answered 413.
pub const BODY_BYTES_MAX: usize = 16 * 1024;

#[derive(Clone, Copy)]
struct BodyTimeout(Duration);

/// A service's routes with what all of them have: problems for what no route matches, a trace, a log
/// line, metrics, besides the routes for operations.
pub fn app(routes: Router, operations: Router, config: &HttpConfig) -> Router {
    routes
        .fallback(unknown_route)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(axum::Extension(BodyTimeout(config.body_timeout())))
        .layer(middleware::from_fn_with_state(
            Arc::new(config.hosts.clone()),
            check_host,
        ))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(observe))
        .merge(operations.layer(middleware::from_fn(check_host_header)))
}

/// Refuses what [`Hosts::check`] refuses.
async fn check_host(
    State(hosts): State<Arc<Hosts>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let target = request.uri().authority().map(Authority::as_str);
    hosts.check(request.method(), target, request.headers())?;
    Ok(next.run(request).await)
}

/// Refuses what HTTP refuses. Orchestrators and Prometheus ask for health and metrics at addresses that no setting can list,
/// and what they are told is not private, so any name will do; in HTTP/1.0, none at all.
async fn check_host_header(request: Request, next: Next) -> Result<Response, Problem> {
    if request.version() > Version::HTTP_10 {
        let target = request.uri().authority().map(Authority::as_str);
        hosts::host(target, request.headers())?;
    }
    Ok(next.run(request).await)
}

async fn unknown_route(request: Request) -> Problem {
    Problem::not_found("route", request.uri().path())
}

async fn method_not_allowed(request: Request) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        "Method not allowed",
        format!(
            "{} can't be used on {}; the Allow header lists what can",
            request.method(),
            request.uri().path()
        ),
    )
}

fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let text = crate::telemetry::panic_text(&*panic);
    Problem::internal(&std::io::Error::other(format!(
        "a handler panicked: {text}"
    )))
    .into_response()
}

/// What metrics call a method. A client may make up any: each as a label of its own would be memory for good.
fn method_label(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = [
        "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT",
    ];
    let known = KNOWN.into_iter().find(|known| *known == method.as_str());
    known.unwrap_or("other")
}

/// Gives the request a trace, logs it with its answer and counts it.
async fn observe(mut request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unknown".to_owned(), |path| path.as_str().to_owned());
    let begun = Instant::now();
    let caller = TraceContext::of_request(request.headers());
    let span = spans::server(method_label(&method), &route, &path, caller.as_ref());
    let trace = TraceContext::of_span(&span).or(caller);
    let trace = trace.unwrap_or_else(TraceContext::start);
    let log_span = info_span!("http", trace_id = %trace.trace_id());
    request.extensions_mut().insert(trace.clone());
    async {
        let mut response = next.run(request).await;
        let status = response.status().as_u16();
        let elapsed = begun.elapsed();
        info!(%method, path, status, elapsed_ms = elapsed.as_millis(), "answered");
        let labels = [
            ("method", method_label(&method).to_owned()),
            ("route", route),
            ("status", status.to_string()),
        ];
        metrics::histogram!("http_request_duration_seconds", &labels).record(elapsed);
        spans::responded(&span, response.status());
        if response.status().is_server_error() {
            spans::failed(&span, response.status().as_str());
        }
        if let Ok(value) = HeaderValue::try_from(trace.traceparent()) {
            response.headers_mut().insert(TRACEPARENT, value);
        }
        response
    }
    .instrument(log_span)
    .instrument(span.clone())
    .await
}

/// A JSON body. Refuses another content type and encodings (415), more than [`BODY_BYTES_MAX`] (413), a body that
/// does not arrive in time (408), what is not JSON (400) and what does not fit `T` (422).
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        check_json_headers(request.headers())?;
        let timeout = request
            .extensions()
            .get::<BodyTimeout>()
            .map_or(Duration::from_secs(5), |timeout| timeout.0);
        let bytes = tokio::time::timeout(timeout, read_body(request.into_body()))
            .await
            .map_err(|_| {
                Problem::new(
                    StatusCode::REQUEST_TIMEOUT,
                    "body-timeout",
                    "The request stalled",
                    format!("the body did not arrive within {timeout:?}"),
                )
            })??;
        parse(&bytes).map(Self)
    }
}

/// Refuses a body that is not JSON as it is, by what its headers say.
///
/// # Errors
/// 415: another content type, or a content encoding. 501: a transfer coding besides `chunked`.
pub fn check_json_headers(headers: &HeaderMap) -> Result<(), Problem> {
    let unsupported = |detail| {
        Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            "Unsupported media type",
            detail,
        )
    };
    let media_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok()?.split(';').next());
    if !media_type.is_some_and(|it| it.trim().eq_ignore_ascii_case("application/json")) {
        return Err(unsupported(
            "send the body as JSON, with the header Content-Type: application/json",
        ));
    }
    let has_only = |name, coding: &[u8]| {
        let mut codings = headers.get_all(name).iter();
        codings.all(|it| it.as_bytes().eq_ignore_ascii_case(coding))
    };
    if !has_only(header::CONTENT_ENCODING, b"identity") {
        return Err(unsupported(
            "send the body uncompressed, without the header Content-Encoding",
        ));
    }
    if !has_only(header::TRANSFER_ENCODING, b"chunked") {
        return Err(Problem::new(
            StatusCode::NOT_IMPLEMENTED,
            "unsupported-transfer-coding",
            "Unsupported transfer coding",
            "send the body uncompressed: the one transfer coding that is understood is chunked",
        ));
    }
    Ok(())
}

async fn read_body(body: Body) -> Result<axum::body::Bytes, Problem> {
    let collected = Limited::new(body, BODY_BYTES_MAX).collect().await;
    collected
        .map(http_body_util::Collected::to_bytes)
        .map_err(|error| {
            if error.downcast_ref::<LengthLimitError>().is_some() {
                Problem::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "body-too-large",
                    "The body is too large",
                    format!("a body has at most {BODY_BYTES_MAX} bytes"),
                )
            } else {
                malformed("the body did not arrive whole")
            }
        })
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // First whether it is JSON at all, so that what fails afterwards is the value's fault.
    let json: &RawValue =
        serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
    // serde would read a struct from an array too, by position.
    if !json.get().starts_with('{') {
        return Err(Problem::invalid("the body must be a JSON object"));
    }
    let mut value = serde_json::Deserializer::from_str(json.get());
    serde_path_to_error::deserialize(&mut value).map_err(|error| {
        let path = error.path().to_string();
        Problem::invalid(without_position(error.inner())).in_field(path)
    })
}

fn malformed(detail: impl Into<String>) -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "malformed-json",
        "The body is not valid JSON",
        detail,
    )
}

/// The message without `serde_json`'s " at line 1 column 2": of a value, the field's name says where.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((message, _)) => message.to_owned(),
        None => text,
    }
}

/// A parameter of the path, such as a UUID; malformed ones are answered 400.
#[derive(Debug)]
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let extracted = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        extracted
            .map(|path| Self(path.0))
            .map_err(|rejection: PathRejection| {
                Problem::new(
                    StatusCode::BAD_REQUEST,
                    "malformed-path",
                    "The path has a malformed part",
                    of_path(rejection),
                )
            })
    }
}

/// The query string; malformed ones and unknown parameters are answered 400.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let extracted = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        extracted
            .map(|query| Self(query.0))
            .map_err(|rejection: QueryRejection| {
                Problem::new(
                    StatusCode::BAD_REQUEST,
                    "malformed-query",
                    "The query string is malformed",
                    of_query(&rejection),
                )
            })
    }
}

/// What is wrong with a part of the path.
fn of_path(rejection: PathRejection) -> String {
    let PathRejection::FailedToDeserializePathParams(error) = rejection else {
        return rejection.body_text();
    };
    match error.into_kind() {
        ErrorKind::DeserializeError { value, message, .. } => {
            format!("`{value}`: {}", plain(&message))
        }
        // Only numbers are parsed so.
        ErrorKind::ParseErrorAtKey { value, .. } | ErrorKind::ParseError { value, .. } => {
            format!("`{value}`: {NO_NUMBER}")
        }
        other => plain(&other.to_string()),
    }
}

/// What is wrong with a parameter of the query string; its name stands first.
fn of_query(rejection: &QueryRejection) -> String {
    let text = rejection.body_text();
    plain(
        text.strip_prefix("Failed to deserialize query string: ")
            .unwrap_or(&text),
    )
}

const NO_NUMBER: &str = "this is not a whole number";
const NO_ID: &str =
    "this is not an id: ids are UUIDs, such as 018f4d2e-7c1b-7000-8000-000000000000";

/// The parsers' words as a person would say them.
fn plain(text: &str) -> String {
    let words = [
        ("UUID parsing failed", NO_ID),
        ("invalid digit found in string", NO_NUMBER),
        ("cannot parse integer from empty string", NO_NUMBER),
        (
            "number too large to fit in target type",
            "this number is too large",
        ),
    ];
    let said = words.iter().find_map(|(parser, plain)| {
        // Further details of the parser come after its words.
        let (before, _) = text.split_once(parser)?;
        Some(format!("{before}{plain}"))
    });
    said.unwrap_or_else(|| text.to_owned())
}

/// The trace of the request in hand.
impl<S: Send + Sync> FromRequestParts<S> for TraceContext {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let trace = parts.extensions.get::<Self>().cloned();
        Ok(trace.unwrap_or_else(Self::start))
    }
}

/// Keyset pagination: `?limit=50&before=<cursor>`, newest first.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageQuery<C> {
    #[serde(default = "limit_default")]
    limit: NonZeroU16,
    /// Only items older than this one: the `next_before` of the page before.
    pub before: Option<C>,
}

/// Items of a page unless asked for otherwise.
const LIMIT_DEFAULT: NonZeroU16 = NonZeroU16::new(50).expect("50 is not zero");

/// A page has at most so many items; a larger `limit` counts as this.
const LIMIT_MAX: NonZeroU16 = NonZeroU16::new(500).expect("500 is not zero");

const fn limit_default() -> NonZeroU16 {
    LIMIT_DEFAULT
}

impl<C> PageQuery<C> {
    /// Takes the two from a query string that has other parameters besides.
    #[must_use]
    pub fn new(limit: Option<NonZeroU16>, before: Option<C>) -> Self {
        Self {
            limit: limit.unwrap_or(LIMIT_DEFAULT),
            before,
        }
    }

    /// How many items to answer.
    #[must_use]
    pub fn limit(&self) -> i64 {
        i64::from(self.limit.min(LIMIT_MAX).get())
    }

    /// A page of `items`, which were asked for with [`Self::limit`].
    pub fn page<T>(&self, items: Vec<T>, cursor: impl Fn(&T) -> C) -> Page<T, C> {
        let full = i64::try_from(items.len()).is_ok_and(|count| count >= self.limit());
        Page {
            next_before: items.last().filter(|_| full).map(cursor),
            items,
        }
    }
}

/// One page of a list, newest first.
#[derive(Debug, serde::Serialize, ToSchema)]
pub struct Page<T, C> {
    /// The items.
    pub items: Vec<T>,
    /// Pass it as `before` to get the next page; null when this is the last.
    #[schema(schema_with = openapi::nullable::<C>)]
    pub next_before: Option<C>,
}
