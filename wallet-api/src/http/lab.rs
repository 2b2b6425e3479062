//! What only the lab may ask of a payment: another pattern, and a crash or a wait after its first write.
//!
//! These are headers of the request. Without `LAB` they are refused, not ignored: the client would otherwise believe that
//! it had seen what it asked for.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use chassis::Problem;
use clap::ValueEnum as _;

use super::app::App;
use crate::config::Lab;
use crate::pattern::{Between, Choice, Pattern};
use crate::pay_error::PayError;

const PATTERN: &str = "x-pay-pattern";
const CRASH: &str = "x-lab-crash";
const HOLD: &str = "x-lab-hold";

/// Chooses the pattern of a request to pay, and gives no answer if its process is to crash. A request with one write
/// is held here, before its answer.
pub(super) async fn choose(
    State(app): State<App>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let choice = choice(request.headers(), &app)?;
    request.extensions_mut().insert(choice);
    let response = next.run(request).await;
    // A refusal is answered: nothing was written, so there is nothing to crash after.
    let written = response.status() == StatusCode::ACCEPTED;
    if written && choice.between == Between::Crash {
        return Ok(hang_up());
    }
    let has_one_write = matches!(choice.pattern, Pattern::Outbox | Pattern::ListenToYourself);
    if written && has_one_write {
        let held = choice.between.dies(&app.pool).await;
        held.map_err(PayError::from)?;
    }
    Ok(response)
}

fn choice(headers: &HeaderMap, app: &App) -> Result<Choice, Problem> {
    let pattern = match header(headers, app.lab, PATTERN)? {
        None => app.pattern,
        Some(text) => Pattern::from_str(text, false).map_err(|_| {
            invalid(
                PATTERN,
                "outbox, listen-to-yourself, dual-write or publish-first",
            )
        })?,
    };
    let between = match (
        header(headers, app.lab, CRASH)?,
        header(headers, app.lab, HOLD)?,
    ) {
        (None, None) => Between::Nothing,
        (Some("between"), None) => Between::Crash,
        (Some(_), _) => return Err(invalid(CRASH, "between, without x-lab-hold")),
        (None, Some(number)) => Between::Hold(
            number
                .parse()
                .map_err(|_| invalid(HOLD, "the number of an advisory lock"))?,
        ),
    };
    Ok(Choice { pattern, between })
}

/// The header of that name. One that is there twice, or is not text, counts as empty, which no header may be.
fn header<'a>(
    headers: &'a HeaderMap,
    lab: Lab,
    name: &'static str,
) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
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

/// Closes the connection without an answer, as a crashed process does: a body that fails before its first byte
/// does that, because its head has not been sent either.
fn hang_up() -> Response {
    let failed = async { Err::<&str, _>(std::io::Error::other("a simulated crash")) };
    let mut response = Response::new(Body::from_stream(futures_util::stream::once(failed)));
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}
