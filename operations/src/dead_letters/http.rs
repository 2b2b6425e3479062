//! Dead letters over HTTP.

use std::num::NonZeroU16;

use crate::dead_letter::{self, DeadLetter, Filter, Status};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

use super::{
    ActionError, DiscardedMany, Redeliver, Retried, RetriedMany, discard, discard_many, retry,
    retry_many,
};
use crate::operator::{
    self, Note, NoteText, OperatorError, OperatorHeader, OperatorRequest, identify,
};
use chassis::Problem;
use chassis::consumer::hex;
use chassis::database::Pool;
use chassis::http::{Page, PageQuery, Path, Query};

#[derive(Clone)]
struct Letters<R> {
    pool: Pool,
    redeliver: R,
}

/// The document of [`routes`].
#[derive(OpenApi)]
#[openapi(paths(
    list,
    show,
    retry_one,
    discard_one,
    retry_matching,
    discard_matching,
    operator::list
))]
pub struct Document;

/// `/dead-letters`, to look and to act, and `/operator-actions`.
pub fn routes<R: Redeliver>(pool: Pool, redeliver: R) -> Router {
    let letters = Letters {
        pool: pool.clone(),
        redeliver,
    };
    Router::new()
        .route("/dead-letters", get(list::<R>))
        .route("/dead-letters/retry", post(retry_matching::<R>))
        .route("/dead-letters/discard", post(discard_matching::<R>))
        .route("/dead-letters/{id}", get(show::<R>))
        .route("/dead-letters/{id}/retry", post(retry_one::<R>))
        .route("/dead-letters/{id}/discard", post(discard_one::<R>))
        .with_state(letters)
        .merge(operator::routes(pool))
}

/// `?status=open&reason=no pending&search=<payment id>&limit=50&before=<cursor>`.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct LettersQuery {
    #[param(inline)]
    #[serde(default)]
    status: StatusQuery,
    /// Selects dead letters whose reason begins with this text.
    #[serde(default)]
    reason: String,
    /// Selects dead letters that have this text in the reason, the headers, the key or the payload.
    #[serde(default)]
    search: String,
    /// More than 500 counts as 500.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 65535, default = 50)]
    limit: Option<NonZeroU16>,
    /// The `next_before` of the previous page.
    before: Option<i64>,
}

/// A status, as it is asked for.
#[derive(Debug, Default, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum StatusQuery {
    #[default]
    Open,
    Taken,
    Discarded,
}

impl From<StatusQuery> for Status {
    fn from(status: StatusQuery) -> Self {
        match status {
            StatusQuery::Open => Self::Open,
            StatusQuery::Taken => Self::Taken,
            StatusQuery::Discarded => Self::Discarded,
        }
    }
}

/// Lists messages that could not be taken, newest first
#[utoipa::path(get, path = "/dead-letters", tag = "dead letters", params(LettersQuery), responses(
    (status = 200, description = "A page of dead letters", body = Page<DeadLetterView, i64>),
))]
async fn list<R: Redeliver>(
    State(letters): State<Letters<R>>,
    Query(query): Query<LettersQuery>,
) -> Result<Json<Page<DeadLetterView, i64>>, Problem> {
    let page = PageQuery::new(query.limit, query.before);
    let mut conn = letters.pool.get().await?;
    let found = dead_letter::list(
        &mut conn,
        query.status.into(),
        Filter {
            reason: &query.reason,
            search: &query.search,
        },
        page.before,
        page.limit(),
    );
    let views = found.await?.into_iter().map(DeadLetterView::from).collect();
    Ok(Json(page.page(views, |letter| letter.id)))
}

/// Shows a dead letter with its bytes
#[utoipa::path(get, path = "/dead-letters/{id}", tag = "dead letters", params(("id" = i64, Path)), responses(
    (status = 200, description = "The dead letter", body = WholeLetterView),
))]
async fn show<R: Redeliver>(
    State(letters): State<Letters<R>>,
    Path(id): Path<i64>,
) -> Result<Json<WholeLetterView>, Problem> {
    let mut conn = letters.pool.get().await?;
    let letter = dead_letter::find(&mut conn, id).await?;
    let letter = letter.ok_or(ActionError::Unknown(id))?;
    Ok(Json(letter.into()))
}

/// Takes a dead letter again
#[utoipa::path(post, path = "/dead-letters/{id}/retry", tag = "dead letters", params(("id" = i64, Path), OperatorHeader), request_body = Option<Note>, responses(
    (status = 200, description = "Taken, or refused again", body = Retried),
    (status = 409, description = "`dead-letter-ended`: the dead letter is not open", body = Problem,
        content_type = "application/problem+json"),
))]
async fn retry_one<R: Redeliver>(
    State(letters): State<Letters<R>>,
    Path(id): Path<i64>,
    order: OperatorRequest<Note>,
) -> Result<Json<Retried>, Problem> {
    let by = identify(&order.operator, order.body.note.as_deref())?;
    let mut conn = letters.pool.get().await?;
    Ok(Json(retry(&mut conn, &letters.redeliver, id, by).await?))
}

/// Selects the dead letters to retry or to discard.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Matching {
    /// Selects dead letters whose reason begins with this text.
    #[serde(default)]
    reason: String,
    /// Selects dead letters that have this text in the reason, the headers, the key or the payload.
    #[serde(default)]
    search: String,
    /// The `next_after` of the previous response.
    #[serde(default)]
    after: i64,
    #[schema(value_type = Option<NoteText>)]
    note: Option<String>,
}

impl Matching {
    /// Never all that there are: a request without a filter is a mistake.
    fn filter(&self) -> Result<Filter<'_>, Problem> {
        if self.reason.trim().is_empty() && self.search.trim().is_empty() {
            let detail =
                "say how the reason begins (reason), or what the message has in it (search)";
            return Err(Problem::invalid(detail).in_field("reason"));
        }
        Ok(Filter {
            reason: &self.reason,
            search: &self.search,
        })
    }
}

/// Takes all open dead letters again that match, at most 100
#[utoipa::path(post, path = "/dead-letters/retry", tag = "dead letters", params(OperatorHeader), request_body = Matching, responses(
    (status = 200, description = "How many, and where to go on", body = RetriedMany),
))]
async fn retry_matching<R: Redeliver>(
    State(letters): State<Letters<R>>,
    order: OperatorRequest<Matching>,
) -> Result<Json<RetriedMany>, Problem> {
    let matching = order.body;
    let by = identify(&order.operator, matching.note.as_deref())?;
    let filter = matching.filter()?;
    let mut conn = letters.pool.get().await?;
    let retried = retry_many(&mut conn, &letters.redeliver, filter, matching.after, by).await?;
    Ok(Json(retried))
}

/// Gives up all open dead letters that match, at most 500; a note is required
#[utoipa::path(post, path = "/dead-letters/discard", tag = "dead letters", params(OperatorHeader), request_body = Matching, responses(
    (status = 200, description = "How many, and where to go on", body = DiscardedMany),
))]
async fn discard_matching<R: Redeliver>(
    State(letters): State<Letters<R>>,
    order: OperatorRequest<Matching>,
) -> Result<Json<DiscardedMany>, Problem> {
    let matching = order.body;
    let note = matching.note.as_deref().ok_or(OperatorError::Note)?;
    let by = identify(&order.operator, Some(note))?;
    let filter = matching.filter()?;
    let mut conn = letters.pool.get().await?;
    Ok(Json(
        discard_many(&mut conn, filter, matching.after, by).await?,
    ))
}

/// Gives up a dead letter; a note is required
#[utoipa::path(post, path = "/dead-letters/{id}/discard", tag = "dead letters", params(("id" = i64, Path), OperatorHeader), request_body = Note, responses(
    (status = 204, description = "Given up"),
    (status = 409, description = "`dead-letter-ended`: the dead letter is not open", body = Problem,
        content_type = "application/problem+json"),
))]
async fn discard_one<R: Redeliver>(
    State(letters): State<Letters<R>>,
    Path(id): Path<i64>,
    order: OperatorRequest<Note>,
) -> Result<StatusCode, Problem> {
    // Nobody gives a message about money up without saying why.
    let note = order.body.note.as_deref().ok_or(OperatorError::Note)?;
    let by = identify(&order.operator, Some(note))?;
    let mut conn = letters.pool.get().await?;
    discard(&mut conn, id, by).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl From<ActionError> for Problem {
    fn from(error: ActionError) -> Self {
        match error {
            ActionError::Unknown(id) => Self::not_found("dead letter", id),
            ActionError::Ended { .. } => Self::new(
                StatusCode::CONFLICT,
                "dead-letter-ended",
                "The dead letter is not open",
                error.to_string(),
            ),
            ActionError::Database(error) => error.into(),
        }
    }
}

/// A dead letter, as the API lists it: bytes as text, lossily, and of a long payload the beginning.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeadLetterView {
    pub(super) id: i64,
    /// `open`, `taken` or `discarded`.
    pub(super) status: String,
    pub(super) consumer: String,
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) offset: i64,
    /// The header `ce_id`.
    pub(super) event_id: Option<String>,
    /// The header `ce_type`.
    pub(super) event_type: Option<String>,
    pub(super) key: Option<String>,
    pub(super) headers: serde_json::Value,
    pub(super) payload: Option<String>,
    pub(super) payload_bytes: Option<i32>,
    pub(super) reason: String,
    /// How many times an operator retried the message.
    pub(super) retries: i32,
    pub(super) created_at: String,
    pub(super) ended_at: Option<String>,
}

/// A whole dead letter, with its bytes, in hexadecimal digits too.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WholeLetterView {
    #[serde(flatten)]
    pub(super) letter: DeadLetterView,
    pub(super) key_hex: Option<String>,
    pub(super) payload_hex: Option<String>,
}

impl From<DeadLetter> for WholeLetterView {
    fn from(letter: DeadLetter) -> Self {
        Self {
            key_hex: letter.key.as_deref().map(hex),
            payload_hex: letter.payload.as_deref().map(hex),
            letter: letter.into(),
        }
    }
}

impl From<DeadLetter> for DeadLetterView {
    fn from(letter: DeadLetter) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let header = |name: &str| {
            let headers = letter.headers.as_array()?;
            let header = headers
                .iter()
                .find(|it| it.get(0).is_some_and(|it| it == name))?;
            header.get(1)?.as_str().map(str::to_owned)
        };
        Self {
            id: letter.id,
            event_id: header("ce_id"),
            event_type: header("ce_type"),
            status: letter.status,
            consumer: letter.consumer,
            topic: letter.topic,
            partition: letter.kafka_partition,
            offset: letter.kafka_offset,
            key: letter.key.map(text),
            headers: letter.headers,
            payload: letter.payload.map(text),
            payload_bytes: letter.payload_bytes,
            reason: letter.reason,
            retries: letter.retries,
            created_at: letter.created_at.to_rfc3339(),
            ended_at: letter.ended_at.map(|at| at.to_rfc3339()),
        }
    }
}
