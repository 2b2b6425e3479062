//! What only the lab may ask of a payment: another pattern, and a crash at its worst moment.
//!
//! Both are headers of the request. Without `LAB` they are refused, not ignored: who sends them would
//! otherwise believe to have seen what they asked for.

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::Response;
use chassis::Problem;
use clap::ValueEnum as _;

use crate::http::App;
use crate::patterns::{NotPaid, Pattern};

const PATTERN: &str = "x-pay-pattern";
const CRASH: &str = "x-lab-crash";

/// Whether the lab is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lab {
    /// The headers are taken.
    On,
    /// They are refused.
    Off,
}

/// Whether a request simulates the crash of its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crash {
    No,
    /// Between its first write and its second, or its answer where there is no second.
    Between,
}

impl Crash {
    /// The moment at which the process would die, for this request only.
    pub(crate) const fn may_happen(self) -> Result<(), NotPaid> {
        match self {
            Self::No => Ok(()),
            Self::Between => Err(NotPaid::SimulatedCrash),
        }
    }
}

/// What a request to pay asks for beside the payment.
pub(crate) struct LabRequest {
    pub(crate) pattern: Pattern,
    pub(crate) crash: Crash,
}

impl FromRequestParts<App> for LabRequest {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let pattern = header(parts, app.lab, PATTERN)?;
        let crash = header(parts, app.lab, CRASH)?;
        let pattern = pattern.map(|text| Pattern::from_str(text, false));
        let crash = crash.map(|text| match text {
            "between" => Ok(Crash::Between),
            _ => Err(()),
        });
        Ok(Self {
            pattern: pattern
                .unwrap_or(Ok(app.pattern))
                .map_err(|_| invalid(PATTERN, "outbox, listen-to-yourself or dual-write"))?,
            crash: crash
                .unwrap_or(Ok(Crash::No))
                .map_err(|()| invalid(CRASH, "between"))?,
        })
    }
}

/// The header of that name. One that is there twice, or is not text, is empty: nobody means that.
fn header<'a>(parts: &'a Parts, lab: Lab, name: &'static str) -> Result<Option<&'a str>, Problem> {
    let mut values = parts.headers.get_all(name).iter();
    match (values.next(), lab) {
        (None, _) => Ok(None),
        (Some(value), Lab::On) => {
            let text = value.to_str().ok().filter(|_| values.next().is_none());
            Ok(Some(text.unwrap_or_default()))
        }
        (Some(_), Lab::Off) => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "lab-only",
            "Only the lab takes this header",
            format!("nothing was written; leave out {name}, or start wallet-api with LAB=true"),
        )),
    }
}

fn invalid(name: &str, values: &str) -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "invalid-lab-header",
        "The lab has no such wish",
        format!("{name} is {values}, or left out"),
    )
}

/// The end of a request whose process has crashed: the connection is closed, without an answer. A body
/// that fails before its first byte does that, because its head has not been sent either.
pub(crate) fn hang_up() -> Response {
    let failed = async { Err::<&str, _>(NotPaid::SimulatedCrash) };
    let mut response = Response::new(Body::from_stream(futures_util::stream::once(failed)));
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}
