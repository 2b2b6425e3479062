//! What the handlers share: their state, and the `Idempotency-Key` of a request.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use chassis::Problem;
use chassis::database::Pool;

use crate::config::Lab;
use crate::domain::Replayed;
use crate::pattern::Pattern;
use crate::patterns::Patterns;
use crate::request::{IdempotencyKey, KeySource};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// What the handlers work with.
#[derive(Clone)]
pub struct App {
    /// For everything but payments.
    pub pool: Pool,
    pub payments: Arc<Patterns>,
    /// How payments are written, unless the lab asks for another pattern.
    pub pattern: Pattern,
    pub lab: Lab,
}

/// The `Idempotency-Key` of a request, or a new one where the client sent none.
pub(super) struct RequestKey {
    pub(super) key: IdempotencyKey,
    pub(super) source: KeySource,
}

impl<S: Send + Sync> FromRequestParts<S> for RequestKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
        let (key, source) = match (values.next(), values.next()) {
            (None, _) => (IdempotencyKey::generate(), KeySource::Generated),
            (Some(value), None) => {
                let key = value.to_str().ok().and_then(|text| text.parse().ok());
                (key.ok_or_else(invalid_key)?, KeySource::Client)
            }
            (Some(_), Some(_)) => return Err(invalid_key()),
        };
        Ok(Self { key, source })
    }
}

fn invalid_key() -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "invalid-idempotency-key",
        "The Idempotency-Key is not valid",
        "send the header Idempotency-Key once, with 1 to 255 visible ASCII characters, or not at all",
    )
}

impl RequestKey {
    /// Adds the key to the answer, also to a refusal: the client tries again with it.
    pub(super) fn echo(self, answer: Result<(Response, Replayed), Problem>) -> Response {
        let (mut response, replayed) =
            answer.unwrap_or_else(|problem| (problem.into_response(), Replayed::No));
        let headers = response.headers_mut();
        if let Ok(value) = HeaderValue::from_str(self.key.as_str()) {
            headers.insert(IDEMPOTENCY_KEY, value);
        }
        if replayed == Replayed::Yes {
            headers.insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
        }
        response
    }
}
