//! How long after its commit an event is with a consumer, at a steady rate.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl as _};
use futures_util::future::{try_join, try_join_all};
use rdkafka::consumer::BaseConsumer;
use rdkafka::message::BorrowedMessage;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::backlog::KEYS;
use crate::database::Database;
use crate::delay::Delay;
use crate::stage::Stage;
use crate::stats::Latency;
use crate::topic::Topic;

/// Events a second.
pub(super) const PER_SECOND: u32 = 500;

/// Connections that write, by turns: at the rate above one could not keep the pace of a slow disk.
const WRITERS: u32 = 4;

const WARM_UP: Duration = Duration::from_secs(3);

/// How long the consumer waits for the last events.
const ARRIVE_WITHIN: Duration = Duration::from_secs(30);

diesel::table! {
    outbox (id) {
        id -> Uuid,
        aggregatetype -> Text,
        aggregateid -> Text,
        #[sql_name = "type"]
        event_type -> Text,
        source -> Text,
        traceparent -> Text,
        payload -> Jsonb,
    }
}

/// From the return of a commit to the event's arrival at a consumer: writes events one a transaction, on a schedule that waits
/// for nothing, for `time` after a warm-up.
pub(super) async fn measure(
    stage: &Stage<'_>,
    database: &Database,
    topic: &Topic,
    time: Duration,
) -> anyhow::Result<Delay> {
    let warm_up = WARM_UP.min(time);
    let events = u32::try_from((warm_up + time).as_secs())? * PER_SECOND;
    let first_counted = u32::try_from(warm_up.as_secs())? * PER_SECOND;

    // A consumer of what comes from now on.
    let brokers = stage.servers.kafka_brokers.clone();
    let given_up = CancellationToken::new();
    let _guard = given_up.clone().drop_guard();
    let (topic, wanted) = (topic.clone(), usize::try_from(events)?);
    let deadline = Instant::now() + warm_up + time + ARRIVE_WITHIN;
    let consumer = tokio::task::spawn_blocking(move || topic.tail(&brokers)).await??;
    let receiving =
        tokio::task::spawn_blocking(move || receive(&consumer, wanted, deadline, &given_up));
    let receiving = async { receiving.await.context("receiving")? };

    // Write on schedule and receive at the same time.
    let before = stage.cpu().await?;
    let begun = Instant::now();
    let writers = (0..WRITERS).map(|writer| write(&database.url, begun, writer, events));
    let (committed, received) = try_join(try_join_all(writers), receiving).await?;
    let after = stage.cpu().await?;

    // Commit to arrival, for each event after the warm-up.
    let mut latencies = Vec::new();
    let mut late_max = Duration::ZERO;
    for event in committed.into_iter().flatten() {
        if event.number < first_counted {
            continue;
        }
        let arrived = received.get(&event.id).context("an event did not arrive")?;
        latencies.push(arrived.saturating_duration_since(event.committed));
        late_max = late_max.max(event.committed.saturating_duration_since(event.due));
    }
    Ok(Delay {
        latency: Latency::of(latencies).context("nothing was written")?,
        late_max,
        cpu: after.since(&before),
    })
}

struct Event {
    number: u32,
    id: Uuid,
    due: Instant,
    committed: Instant,
}

/// Writes every [`WRITERS`]th event, each at its time.
async fn write(url: &str, begun: Instant, writer: u32, events: u32) -> anyhow::Result<Vec<Event>> {
    let mut conn = AsyncPgConnection::establish(url).await?;
    let mut written = Vec::new();
    for number in (writer..events).step_by(usize::try_from(WRITERS)?) {
        let due = begun + Duration::from_secs(1) * number / PER_SECOND;
        tokio::time::sleep_until(due.into()).await;
        let id = Uuid::now_v7();
        let wallet = format!("00000000-0000-7000-8000-{:012}", number % KEYS);
        let payload = json!({
            "payment_id": id, "wallet_id": wallet, "amount": "499.00", "currency": "INR",
            "provider": "wifi", "account_number": "WIFI-42",
        });
        diesel::insert_into(outbox::table)
            .values((
                diesel::ExpressionMethods::eq(outbox::id, id),
                diesel::ExpressionMethods::eq(outbox::aggregatetype, "wallet"),
                diesel::ExpressionMethods::eq(outbox::aggregateid, wallet),
                diesel::ExpressionMethods::eq(outbox::event_type, "BillPaymentRequested"),
                diesel::ExpressionMethods::eq(outbox::source, "wallet-api"),
                diesel::ExpressionMethods::eq(outbox::traceparent, TRACEPARENT),
                diesel::ExpressionMethods::eq(outbox::payload, payload),
            ))
            .execute(&mut conn)
            .await
            .context("writing an event")?;
        written.push(Event {
            number,
            id,
            due,
            committed: Instant::now(),
        });
    }
    Ok(written)
}

/// Any valid trace.
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Receives until `wanted` different events have arrived; when each did first.
fn receive(
    consumer: &BaseConsumer,
    wanted: usize,
    deadline: Instant,
    given_up: &CancellationToken,
) -> anyhow::Result<HashMap<Uuid, Instant>> {
    let mut arrived = HashMap::new();
    while arrived.len() < wanted && !given_up.is_cancelled() {
        anyhow::ensure!(
            Instant::now() < deadline,
            "the measurement is void: {} of {wanted} events arrived",
            arrived.len()
        );
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            let now = Instant::now();
            arrived.entry(event_id(&message?)?).or_insert(now);
        }
    }
    Ok(arrived)
}

fn event_id(message: &BorrowedMessage<'_>) -> anyhow::Result<Uuid> {
    let headers = chassis::consumer::headers(message).readable;
    let id = headers.iter().find(|header| header.key == "ce_id");
    let id = id.and_then(|header| header.value).context("no event id")?;
    Ok(Uuid::try_parse_ascii(id)?)
}
