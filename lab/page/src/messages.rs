//! Messages of a Kafka topic, newest first, a page at a time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use chassis::kafka::Brokers;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};

/// How long the brokers may take to answer one question, and to send the messages of a page.
const WITHIN: Duration = Duration::from_secs(3);

/// Where the next page begins: for each partition, the offset after its newest message.
pub(super) type Cursor = BTreeMap<i32, i64>;

#[derive(Debug, PartialEq)]
struct MessageRow {
    at_ms: i64,
    partition: i32,
    offset: i64,
    row: Value,
}

/// Up to `limit` messages before the cursor, those whose key begins with `contains`; and the next cursor, if there is more.
/// Blocks the thread.
pub(super) fn page(
    brokers: &str,
    topic: &str,
    before: &Cursor,
    contains: &str,
    limit: usize,
) -> anyhow::Result<(Vec<Value>, Option<Cursor>)> {
    // A client that joins no group.
    let consumer: BaseConsumer = chassis::kafka::client(Brokers::with_environment(brokers)?, "lab")
        // Never used: no group is joined and nothing is committed.
        .set("group.id", "lab")
        .set("enable.auto.commit", "false")
        .create()
        .context("making a Kafka client")?;
    let metadata = consumer
        .fetch_metadata(Some(topic), WITHIN)
        .context("asking Kafka for the topic")?;
    let metadata = metadata.topics().first().context("no such topic")?;
    // Of each partition, the last messages before the cursor.
    let mut windows = BTreeMap::new();
    let per_partition = i64::try_from(limit)?;
    for partition in metadata.partitions() {
        let partition = partition.id();
        let (low, high) = consumer.fetch_watermarks(topic, partition, WITHIN)?;
        let end = before
            .get(&partition)
            .copied()
            .unwrap_or(high)
            .clamp(low, high);
        windows.insert(
            partition,
            (low.max(end.saturating_sub(per_partition)), end, low),
        );
    }
    // Newest first, those with the key.
    let mut messages = read(&consumer, topic, &windows)?;
    messages.retain(|message| {
        let key = message.row.get("key").and_then(Value::as_str);
        key.unwrap_or_default().starts_with(contains)
    });
    // Between partitions there is no order but that of time.
    messages.sort_by_key(|message| std::cmp::Reverse((message.at_ms, message.offset)));
    // Where the next page begins.
    let is_filtered = !contains.is_empty();
    let mut next: Cursor = windows
        .iter()
        // What was read and did not fit is read again. With a filter all that is wanted is shown.
        .map(|(partition, (begin, end, _))| (*partition, if is_filtered { *begin } else { *end }))
        .collect();
    if !is_filtered {
        messages.truncate(limit);
    }
    for message in &messages {
        let end = next.entry(message.partition).or_insert(message.offset);
        *end = (*end).min(message.offset);
    }
    let has_more = windows
        .iter()
        .any(|(partition, (_, _, low))| next.get(partition).is_some_and(|end| end > low));
    let rows = messages.into_iter().map(|message| message.row).collect();
    Ok((rows, has_more.then_some(next)))
}

fn read(
    consumer: &BaseConsumer,
    topic: &str,
    windows: &BTreeMap<i32, (i64, i64, i64)>,
) -> anyhow::Result<Vec<MessageRow>> {
    let mut assignment = TopicPartitionList::new();
    let mut open: BTreeMap<i32, i64> = BTreeMap::new();
    for (partition, (begin, end, _)) in windows {
        if begin < end {
            assignment.add_partition_offset(topic, *partition, Offset::Offset(*begin))?;
            open.insert(*partition, *end);
        }
    }
    consumer.assign(&assignment)?;
    let deadline = Instant::now() + WITHIN;
    let mut messages = Vec::new();
    while !open.is_empty() && Instant::now() < deadline {
        let Some(polled) = consumer.poll(Duration::from_millis(100)) else {
            continue;
        };
        let message = polled.context("reading messages")?;
        let Some(end) = open.get(&message.partition()).copied() else {
            continue;
        };
        if message.offset() < end {
            messages.push(shown(&message));
        }
        if message.offset() + 1 >= end {
            open.remove(&message.partition());
        }
    }
    anyhow::ensure!(open.is_empty(), "Kafka has not sent all within {WITHIN:?}");
    Ok(messages)
}

fn shown(message: &BorrowedMessage<'_>) -> MessageRow {
    let text =
        |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let headers: BTreeMap<&str, Option<String>> = chassis::consumer::headers(message)
        .readable
        .into_iter()
        .map(|header| (header.key, text(header.value)))
        .collect();
    let payload = text(message.payload());
    let payload = payload.map(|text| serde_json::from_str(&text).unwrap_or(Value::String(text)));
    let at_ms = message.timestamp().to_millis().unwrap_or_default();
    let payment_id = payload
        .as_ref()
        .and_then(|payload| payload.get("payment_id"))
        .cloned();
    MessageRow {
        at_ms,
        partition: message.partition(),
        offset: message.offset(),
        row: json!({
            "at": at_ms,
            "partition": message.partition(),
            "offset": message.offset(),
            "key": text(message.key()),
            "payment_id": payment_id,
            "type": headers.get("ce_type"),
            "headers": headers,
            "payload": payload,
        }),
    }
}
