//! `POST /payments/{id}/redrive` and `POST /payments/redrive`, for operators.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use chassis::database::Pool;
use chassis::http::Path;
use chassis::{Problem, since};
use operations::operator::{Note, NoteText, OperatorHeader, OperatorRequest, identify};
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::recovery::redrive::{RedrivenMany, redrive, redrive_many};

pub(super) fn routes(pool: Pool) -> Router {
    Router::new()
        .route("/payments/redrive", post(redrive_pending))
        .route("/payments/{id}/redrive", post(redrive_one))
        .with_state(pool)
}

/// Publishes the event of a pending payment again
#[utoipa::path(post, path = "/payments/{id}/redrive", tag = "payments", params(("id" = Uuid, Path), OperatorHeader), request_body = Option<Note>, responses(
    (status = 204, description = "The event will be published again"),
    (status = 409, description = "`payment-ended`: the payment is not pending", body = Problem, content_type = "application/problem+json"),
))]
async fn redrive_one(
    State(pool): State<Pool>,
    Path(id): Path<Uuid>,
    order: OperatorRequest<Note>,
) -> Result<StatusCode, Problem> {
    let by = identify(&order.operator, order.body.note.as_deref())?;
    let mut conn = pool.get().await?;
    redrive(&mut conn, id, by).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Pending {
    /// For how long at least, such as `90s`, `10m` or `2h`.
    #[schema(required, value_type = String, example = "1h")]
    #[serde(default, deserialize_with = "duration")]
    pending_for: Option<Duration>,
    /// The `next_after` of the previous response.
    #[serde(default)]
    after: Uuid,
    #[schema(value_type = Option<NoteText>)]
    note: Option<String>,
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let duration = since::duration(&text).map_err(serde::de::Error::custom)?;
    Ok(Some(duration))
}

/// Publishes the events of payments that have been pending for long again, at most 500
#[utoipa::path(post, path = "/payments/redrive", tag = "payments", params(OperatorHeader), request_body = Pending, responses(
    (status = 200, description = "How many, and where to go on", body = RedrivenMany),
))]
async fn redrive_pending(
    State(pool): State<Pool>,
    order: OperatorRequest<Pending>,
) -> Result<Json<RedrivenMany>, Problem> {
    let Pending {
        pending_for,
        after,
        note,
    } = order.body;
    let by = identify(&order.operator, note.as_deref())?;
    let pending_for = pending_for.ok_or_else(|| {
        Problem::invalid("say for how long they have been pending, such as \"1h\"")
            .in_field("pending_for")
    })?;
    let mut conn = pool.get().await?;
    Ok(Json(redrive_many(&mut conn, pending_for, after, by).await?))
}
