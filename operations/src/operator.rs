//! Operators: who does something by hand, why, and what was done so far.
//!
//! Promises: no action without a name, and a row of `operator_actions` for each. The name is that of the caller's token;
//! where no token is asked for, it is what the header [`OPERATOR`] says.

use std::io::Write;

use crate::operator_action::{self, Operator, OperatorAction};
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderName, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use chassis::access::Caller;
use chassis::database::Pool;
use chassis::http::{JsonBody, Page, PageQuery, Query};
use chassis::openapi::PageParams;
use chassis::{Problem, cli};

/// The header that names the operator.
pub const OPERATOR: HeaderName = HeaderName::from_static("x-operator");

/// A name and a note have at most so many characters.
const NAME_CHARS_MAX: usize = 100;
const NOTE_CHARS_MAX: usize = 1_000;

/// A name or a note that can't be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OperatorError {
    /// Nobody is responsible.
    #[error(
        "an operator's name has 1 to {NAME_CHARS_MAX} characters, none of them a control character"
    )]
    Operator,
    /// Empty, too long, or not text.
    #[error("a note has 1 to {NOTE_CHARS_MAX} characters, none of them a control character")]
    Note,
}

/// Who does something, and why: checked.
pub fn identify<'a>(
    operator: &'a str,
    note: Option<&'a str>,
) -> Result<Operator<'a>, OperatorError> {
    let fits = |text: &str, chars_max| {
        let printable = !text.chars().any(char::is_control);
        !text.trim().is_empty() && text.chars().count() <= chars_max && printable
    };
    if !fits(operator, NAME_CHARS_MAX) {
        return Err(OperatorError::Operator);
    }
    if note.is_some_and(|note| !fits(note, NOTE_CHARS_MAX)) {
        return Err(OperatorError::Note);
    }
    Ok(Operator {
        name: operator,
        note,
    })
}

impl From<OperatorError> for Problem {
    fn from(error: OperatorError) -> Self {
        match error {
            OperatorError::Operator => Self::new(
                StatusCode::BAD_REQUEST,
                "operator-missing",
                "Nobody is named",
                format!("say who you are in the header {OPERATOR}, in UTF-8: {error}"),
            ),
            OperatorError::Note => Self::invalid(error.to_string()).in_field("note"),
        }
    }
}

/// A request of an operator: the name of the token or from [`OPERATOR`], and a JSON body, or `T`'s default if the body is empty.
#[derive(Debug)]
pub struct OperatorRequest<T> {
    /// As it was said; [`identify`] checks it.
    pub operator: String,
    pub body: T,
}

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for OperatorRequest<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let operator = match request.extensions().get::<Caller>() {
            Some(caller) => caller.name.clone(),
            None => {
                let header = request.headers().get(OPERATOR);
                // Not `to_str`: it takes ASCII only, and people have other names.
                let name = header.and_then(|name| std::str::from_utf8(name.as_bytes()).ok());
                name.unwrap_or_default().to_owned()
            }
        };
        identify(&operator, None)?;
        let has_body = request
            .headers()
            .contains_key(axum::http::header::CONTENT_TYPE)
            || !axum::body::HttpBody::is_end_stream(request.body());
        let body = if has_body {
            JsonBody::<T>::from_request(request, state).await?.0
        } else {
            T::default()
        };
        Ok(Self { operator, body })
    }
}

/// The header of an [`OperatorRequest`], for the document.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
pub struct OperatorHeader {
    /// Who asks, in UTF-8, up to 100 characters: required where no token says it, and not read where one does.
    #[param(rename = "X-Operator", nullable = false)]
    #[expect(dead_code, reason = "only the schema is used")]
    operator: Option<String>,
}

/// What an operator says about an action.
#[derive(ToSchema)]
#[schema(
    max_length = 1000,
    pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
)]
#[expect(dead_code, reason = "only the schema is used")]
pub struct NoteText(String);

/// A body that says why.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// In the operator's words.
    #[schema(value_type = Option<NoteText>)]
    pub note: Option<String>,
}

/// An action, as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
pub struct ActionView {
    id: i64,
    at: DateTime<Utc>,
    operator: String,
    /// `retry`, `discard`, `redrive` or `recover`.
    action: String,
    /// `dead_letter/<id>`, `bill/<payment id>` or `payment/<id>`.
    subject: String,
    note: Option<String>,
}

impl From<OperatorAction> for ActionView {
    fn from(row: OperatorAction) -> Self {
        Self {
            id: row.id,
            at: row.at,
            operator: row.operator,
            action: row.action,
            subject: row.subject,
            note: row.note,
        }
    }
}

/// `GET /operator-actions`.
pub fn routes(pool: Pool) -> Router {
    Router::new()
        .route("/operator-actions", get(list))
        .with_state(pool)
}

/// Lists what operators did, newest first
#[utoipa::path(get, path = "/operator-actions", tag = "operators", params(PageParams<i64>), responses(
    (status = 200, description = "A page of actions", body = Page<ActionView, i64>),
))]
pub(crate) async fn list(
    State(pool): State<Pool>,
    Query(query): Query<PageQuery<i64>>,
) -> Result<Json<Page<ActionView, i64>>, Problem> {
    let mut conn = pool.get().await?;
    let actions = operator_action::list(&mut conn, query.before, query.limit()).await?;
    let views = actions.into_iter().map(ActionView::from).collect();
    Ok(Json(query.page(views, |action| action.id)))
}

/// Who runs a command that changes something.
#[derive(Debug, Clone, clap::Args)]
pub struct OperatorArgs {
    /// Your name, for the record
    #[arg(long, env)]
    pub operator: String,
    /// Why, for the record
    #[arg(long)]
    pub note: Option<String>,
}

impl OperatorArgs {
    /// See [`identify`].
    pub fn by(&self) -> Result<Operator<'_>, OperatorError> {
        identify(&self.operator, self.note.as_deref())
    }
}

/// Prints what operators did.
#[derive(Debug, Clone, clap::Args)]
pub struct Actions {
    /// At most so many actions
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=500))]
    limit: i64,
    /// Only those older than the one with this id
    #[arg(long)]
    before: Option<i64>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Actions {
    /// Writes them to `out`, newest first.
    pub async fn run(&self, pool: &Pool, out: &mut impl Write) -> anyhow::Result<()> {
        let mut conn = pool.get().await?;
        let actions = operator_action::list(&mut conn, self.before, self.limit).await?;
        let actions: Vec<ActionView> = actions.into_iter().map(ActionView::from).collect();
        if self.json {
            writeln!(out, "{}", serde_json::to_string_pretty(&actions)?)?;
            return Ok(());
        }
        let rows = actions.into_iter().map(|it| {
            let note = it.note.unwrap_or_default();
            [
                it.id.to_string(),
                it.at.to_rfc3339(),
                it.operator,
                it.action,
                it.subject,
                note,
            ]
        });
        let heads = ["ID", "AT", "OPERATOR", "ACTION", "SUBJECT", "NOTE"];
        write!(out, "{}", cli::table(heads, rows.collect()))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::HeaderValue;
    use axum::routing::post;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn an_operator_s_name_may_have_any_letters() {
        let name_of = async |request: OperatorRequest<Note>| request.operator.into_bytes();
        let routes: Router = Router::new().route("/", post(name_of));
        let long = "王".repeat(101);
        for (name, status) in [
            ("Zoë 王".as_bytes(), 200),
            ("Ольга".as_bytes(), 200),
            (b"Zo\xeb", 400),
            (b"tab\tbed", 400),
            ("next\u{85}line".as_bytes(), 400),
            (b"", 400),
            (long.as_bytes(), 400),
        ] {
            let request = Request::post("/")
                .header(OPERATOR, HeaderValue::from_bytes(name).unwrap())
                .body(Body::empty())
                .unwrap();
            let answer = routes.clone().oneshot(request).await.unwrap();
            assert_eq!(answer.status(), status);
            if status == 200 {
                let body = axum::body::to_bytes(answer.into_body(), 1_000).await;
                assert_eq!(body.unwrap(), name);
            }
        }
    }
}
