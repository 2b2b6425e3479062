//! What can be read from a request; what can't is a 400 problem, or the more fitting 413 or 415.

use std::num::NonZeroU16;

use chassis::hosts::{self, Hosts};
use chassis::http::{BODY_BYTES_MAX, TRACEPARENT, check_json_headers};
use chassis::problem::StatusCode;
use chassis::{Problem, Traceparent};
use serde::de::DeserializeOwned;
use wiremock::Request;

use crate::bill::{self, Bill};

/// Payments of a page unless asked for otherwise, and at the most.
const LIMIT_DEFAULT: u16 = 50;
const LIMIT_MAX: u16 = 500;

/// The routes for operations: answered under any name, as in the other services.
const OPERATIONS: [&str; 3] = ["/livez", "/readyz", "/metrics"];

/// Refuses what [`Hosts::check`] refuses, on the route `path`.
pub(crate) fn check_host(request: &Request, hosts: &Hosts, path: &str) -> Result<(), Problem> {
    // wiremock puts localhost where a request's target has no host.
    let target = Some(request.url.authority()).filter(|target| *target != "localhost");
    if OPERATIONS.contains(&path) {
        return hosts::host(target, &request.headers).map(drop);
    }
    hosts.check(&request.method, target, &request.headers)
}

/// Refuses a body of more than [`BODY_BYTES_MAX`].
pub(crate) fn check_size(request: &Request) -> Result<(), Problem> {
    if request.body.len() <= BODY_BYTES_MAX {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "body-too-large",
        "The body is too large",
        format!("a body has at most {BODY_BYTES_MAX} bytes"),
    ))
}

/// The payment's reference, which is the idempotency key.
pub(crate) fn idempotency_key(request: &Request) -> Result<String, Problem> {
    let mut keys = request.headers.get_all("idempotency-key").iter();
    match (keys.next().map(|key| key.to_str()), keys.next()) {
        (Some(Ok(key)), None) if bill::is_reference(key) => Ok(key.to_owned()),
        _ => Err(malformed_reference("the header Idempotency-Key")),
    }
}

/// The second segment of the path.
pub(crate) fn path_reference(request: &Request) -> Result<&str, Problem> {
    let segment = request.url.path().split('/').nth(2);
    segment
        .filter(|reference| bill::is_reference(reference))
        .ok_or_else(|| malformed_reference("the reference in the path"))
}

/// The bill in the body.
pub(crate) fn bill(request: &Request) -> Result<Bill, Problem> {
    let bill: Bill = json(request)?;
    bill.check()
        .map_err(|error| invalid(error.to_string()).in_field(error.field))?;
    Ok(bill)
}

/// A JSON object in the body.
pub(crate) fn json<T: DeserializeOwned>(request: &Request) -> Result<T, Problem> {
    check_json_headers(&request.headers)?;
    if request.body.trim_ascii_start().starts_with(b"[") {
        // Serde would fill the fields of a struct from it, in their order.
        return Err(invalid("the body must be a JSON object, not an array"));
    }
    serde_json::from_slice(&request.body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => invalid(error.to_string()),
        serde_json::error::Category::Syntax
        | serde_json::error::Category::Eof
        | serde_json::error::Category::Io => Problem::new(
            StatusCode::BAD_REQUEST,
            "malformed-json",
            "The body is not valid JSON",
            error.to_string(),
        ),
    })
}

/// `?limit=50&before=<cursor>`: how many payments at the most, and the `next_before` of the page before.
pub(crate) fn page(request: &Request) -> Result<(usize, Option<usize>), Problem> {
    let malformed = |detail| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "malformed-query",
            "The query string is malformed",
            detail,
        )
    };
    let mut limit = LIMIT_DEFAULT;
    let mut before = None;
    for (name, value) in request.url.query_pairs() {
        let unreadable = || malformed(format!("{name} can't be {value:?}"));
        match name.as_ref() {
            "limit" => limit = value.parse::<NonZeroU16>().map_err(|_| unreadable())?.get(),
            "before" => before = Some(value.parse().map_err(|_| unreadable())?),
            _ => return Err(malformed(format!("there is no parameter {name:?}"))),
        }
    }
    Ok((usize::from(limit.min(LIMIT_MAX)), before))
}

/// The caller's trace, if it has sent a valid one.
pub(crate) fn traceparent(request: &Request) -> Option<Traceparent> {
    let value = request.headers.get(TRACEPARENT)?;
    value.to_str().ok()?.parse().ok()
}

/// 400: the request has a value that is not allowed.
pub(crate) fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "invalid-request",
        "The request has an invalid value",
        detail,
    )
}

fn malformed_reference(place: &str) -> Problem {
    invalid(format!(
        "{place} must be the payment's id: 1 to 128 letters, digits, \".\", \"_\" or \"-\", the first \
         one a letter or digit"
    ))
}
