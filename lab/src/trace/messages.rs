//! The messages about a payment.

use anyhow::Context as _;
use serde_json::json;
use uuid::Uuid;

use super::Step;
use crate::audit::Sources;
use crate::audit::topic::{Client, Topic};

/// How long after its end a payment's messages may still come, in milliseconds: again, after a crash.
const COMES_AGAIN_MS: u64 = 5 * 60 * 1_000;

/// When a payment was on its way, Unix milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Period {
    pub from_ms: u64,
    /// None: it still is.
    pub ended_ms: Option<u64>,
}

/// The messages about a payment.
#[derive(Debug, Default)]
pub(super) struct Messages {
    /// One each.
    pub steps: Vec<Step>,
    /// The events' ids.
    pub event_ids: Vec<Uuid>,
    /// Partition and offset of each.
    pub positions: Vec<(i32, i64)>,
}

/// Finds the messages of `topic` about the payment.
pub(super) async fn find(
    sources: &Sources,
    topic: Topic,
    payment_id: Uuid,
    period: Period,
) -> anyhow::Result<Messages> {
    let sources = sources.clone();
    let find = move || {
        let mut reader = Client::connect(&sources, topic)?.open(Some(period.from_ms))?;
        if let Some(ended_ms) = period.ended_ms {
            reader.until(ended_ms.saturating_add(COMES_AGAIN_MS))?;
        }
        let mut found = Messages::default();
        reader.read(|seen| {
            if seen.payment_id == Some(payment_id) {
                found.steps.push(Step {
                    at: seen.timestamp_ms,
                    place: topic.name,
                    what: format!("{} published", seen.event_type),
                    detail: json!({
                        "partition": seen.partition,
                        "offset": seen.offset,
                        "event_id": seen.event_id,
                        "outbox_seq": seen.outbox_seq,
                        "outbox_epoch": (!seen.outbox_epoch.is_empty()).then_some(seen.outbox_epoch),
                        "consumed": seen.is_taken,
                    }),
                });
                found.event_ids.extend(seen.event_id);
                found.positions.push((seen.partition, seen.offset));
            }
            true
        })?;
        anyhow::Ok(found)
    };
    tokio::task::spawn_blocking(find)
        .await
        .context("reading a topic")?
}
