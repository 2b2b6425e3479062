//! Answers of the page's routes when something can't be done.

use chassis::Problem;
use chassis::problem::StatusCode;

/// 503: what is asked for is away just now.
pub(super) fn away(why: &anyhow::Error) -> Problem {
    Problem::unavailable(format!("{why:#}"))
}

/// 409: not now.
pub(super) fn conflict(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::CONFLICT, "busy", "Not now", detail)
}
