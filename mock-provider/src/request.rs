//! Reads a request. One that can't be read is a 400, never a 422: that is the provider's business decision.

use std::num::NonZeroU16;

use chassis::Problem;
use chassis::http::check_json_headers;
use chassis::problem::StatusCode;
use serde::de::DeserializeOwned;
use wiremock::Request;

use crate::bill::{self, Bill};

const PAGE_PAYMENTS_DEFAULT: u16 = 50;
const PAGE_PAYMENTS_MAX: u16 = 500;

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

pub(crate) fn bill(request: &Request) -> Result<Bill, Problem> {
    let bill: Bill = json(request)?;
    match bill.check() {
        Ok(()) => Ok(bill),
        Err(error) => Err(invalid(error.to_string()).in_field(error.field)),
    }
}

/// A JSON object in the body.
pub(crate) fn json<T: DeserializeOwned>(request: &Request) -> Result<T, Problem> {
    check_json_headers(&request.headers)?;
    if request.body.trim_ascii_start().starts_with(b"[") {
        // Serde would fill the fields of a struct from an array, in their order.
        return Err(invalid("the body must be a JSON object, not an array"));
    }
    serde_json::from_slice(&request.body).map_err(|error| {
        if error.is_data() {
            return invalid(error.to_string());
        }
        let title = "The body is not valid JSON";
        bad_request("malformed-json", title, error.to_string())
    })
}

/// `?limit=50&before=<cursor>`: the payments of a page, and the `next_before` of the page before.
pub(crate) fn page(request: &Request) -> Result<(usize, Option<usize>), Problem> {
    let malformed = |detail| {
        let title = "The query string is malformed";
        bad_request("malformed-query", title, detail)
    };
    let mut limit = PAGE_PAYMENTS_DEFAULT;
    let mut before = None;
    for (name, value) in request.url.query_pairs() {
        let unreadable = || malformed(format!("{name} can't be {value:?}"));
        match name.as_ref() {
            "limit" => limit = value.parse::<NonZeroU16>().map_err(|_| unreadable())?.get(),
            "before" => before = Some(value.parse().map_err(|_| unreadable())?),
            _ => return Err(malformed(format!("there is no parameter {name:?}"))),
        }
    }
    Ok((usize::from(limit.min(PAGE_PAYMENTS_MAX)), before))
}

pub(crate) fn invalid(detail: impl Into<String>) -> Problem {
    let title = "The request has an invalid value";
    bad_request("invalid-request", title, detail.into())
}

fn malformed_reference(place: &str) -> Problem {
    invalid(format!(
        "{place} must be the payment's id: 1 to 128 letters, digits, \".\", \"_\" or \"-\", the first \
         one a letter or digit"
    ))
}

fn bad_request(slug: &str, title: &'static str, detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, slug, title, detail)
}
