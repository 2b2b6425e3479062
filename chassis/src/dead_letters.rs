//! Dead letters of a consumer: made from the record that could not be taken, listed over HTTP.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use outbox::dead_letter::{self, DeadLetter, NewDeadLetter};
use serde::Serialize;
use tracing::warn;

use crate::Problem;
use crate::consumer::Record;
use crate::database::Pool;
use crate::http::{Page, PageQuery, Query};

/// A dead letter of `record`, to be stored in the transaction that goes on without it.
#[must_use]
pub fn dead_letter(consumer: &'static str, record: &Record, reason: String) -> NewDeadLetter {
    warn!(%record, reason, "dead letter");
    NewDeadLetter {
        consumer,
        topic: record.topic.clone(),
        kafka_partition: record.partition,
        kafka_offset: record.offset,
        key: record.key.clone(),
        headers: serde_json::json!(record.headers),
        payload: record.payload.clone(),
        reason,
    }
}

/// `GET /dead-letters`.
pub fn routes(pool: Pool) -> Router {
    Router::new()
        .route("/dead-letters", get(list))
        .with_state(pool)
}

async fn list(
    State(pool): State<Pool>,
    Query(query): Query<PageQuery<i64>>,
) -> Result<Json<Page<DeadLetterView, i64>>, Problem> {
    let mut conn = pool.get().await?;
    let letters = dead_letter::list(&mut conn, query.before, query.limit()).await?;
    let views = letters.into_iter().map(DeadLetterView::from).collect();
    Ok(Json(query.page(views, |letter| letter.id)))
}

/// A dead letter, as the API shows it: bytes as text, lossily, and of a long payload the beginning; the
/// table has them exactly.
#[derive(Debug, Serialize)]
struct DeadLetterView {
    id: i64,
    consumer: String,
    topic: String,
    partition: i32,
    offset: i64,
    key: Option<String>,
    headers: serde_json::Value,
    payload: Option<String>,
    reason: String,
    created_at: String,
}

impl From<DeadLetter> for DeadLetterView {
    fn from(letter: DeadLetter) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self {
            id: letter.id,
            consumer: letter.consumer,
            topic: letter.topic,
            partition: letter.kafka_partition,
            offset: letter.kafka_offset,
            key: letter.key.map(text),
            headers: letter.headers,
            payload: letter.payload.map(text),
            reason: letter.reason,
            created_at: letter.created_at.to_rfc3339(),
        }
    }
}
