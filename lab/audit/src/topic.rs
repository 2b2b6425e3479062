//! Reading a topic up to its end of now, without a group: nobody's offsets move, nobody is rebalanced.
//!
//! Everything of rdkafka's that blocks runs on threads for that.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::metadata::MetadataPartition;
use rdkafka::{Offset, TopicPartitionList};
use serde::Deserialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::sources::Sources;

/// How long a broker may take to answer a question.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// How long nothing may come before the reading is given up.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// By how much the clocks of who makes an id and who publishes its event may differ, in milliseconds.
const CLOCKS_DIFFER_MS: u64 = 2_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Topic {
    pub number: &'static str,
    /// Without the prefix.
    pub name: &'static str,
    /// The group of its consumer, without the prefix.
    pub group: &'static str,
    /// The types of events that are about a payment, and the fields of each besides the payment's id.
    pub types: &'static [(&'static str, &'static [&'static str])],
    /// Whether it may be missing, and is then taken for empty.
    pub is_optional: bool,
}

/// What messages tell of a payment besides its id, in the order of [`TopicMessage::fields`].
pub(crate) const FIELDS: [&str; 8] = [
    "wallet_id",
    "amount",
    "currency",
    "provider",
    "account_number",
    "receipt",
    "reason",
    "idempotency_key",
];

const REQUEST: &[&str] = &[
    "wallet_id",
    "amount",
    "currency",
    "provider",
    "account_number",
];

/// What the pattern listen-to-yourself has accepted; its consumer makes the payments.
pub(crate) const WALLET_COMMANDS: Topic = Topic {
    number: "0",
    name: "wallet.commands",
    group: "wallet-api-commands",
    types: &[(
        "PayBill",
        &[
            "wallet_id",
            "amount",
            "currency",
            "provider",
            "account_number",
            "idempotency_key",
        ],
    )],
    is_optional: true,
};

/// Requests.
pub(crate) const WALLET_EVENTS: Topic = Topic {
    number: "1",
    name: "wallet.events",
    group: "bill-payer",
    types: &[("BillPaymentRequested", REQUEST)],
    is_optional: false,
};

/// Results.
pub(crate) const BILL_EVENTS: Topic = Topic {
    number: "2",
    name: "bill.events",
    group: "wallet-api",
    types: &[
        ("BillPaid", &["wallet_id", "amount", "currency", "receipt"]),
        (
            "BillPaymentFailed",
            &["wallet_id", "amount", "currency", "reason"],
        ),
    ],
    is_optional: false,
};

impl Topic {
    /// With the prefix.
    pub(crate) fn full_name(&self, sources: &Sources) -> String {
        format!("{}{}", sources.topic_prefix, self.name)
    }
}

#[derive(Debug, Clone, Copy)]
struct Range {
    start: i64,
    /// Behind the last message.
    end: i64,
    /// The consumer has taken everything before it.
    taken: i64,
    /// Unix milliseconds: of an event made since then, every message is in the range. For what was made earlier, the
    /// first message may be gone, or out of the scope.
    whole_since_ms: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct TopicMessage<'a> {
    pub partition: i32,
    pub offset: i64,
    pub timestamp_ms: Option<i64>,
    /// The wallet. What is no text has its bytes escaped.
    pub key: Cow<'a, str>,
    pub event_id: Option<Uuid>,
    pub event_type: &'a str,
    /// The number of the event's row in its outbox.
    pub outbox_seq: Option<i64>,
    /// Changes when the outbox begins to count again, as after a restore; empty if the message has none.
    pub outbox_epoch: &'a str,
    pub payment_id: Option<Uuid>,
    /// Of a message about a payment, the fields that its type has, empty if the message lacks them.
    pub fields: [Option<String>; FIELDS.len()],
    /// Whether its consumer has committed its offset.
    pub is_consumed: bool,
    /// Whether every message of this event was read.
    pub is_whole: bool,
}

/// A consumer of a topic that has met its brokers.
pub(crate) struct Client {
    topic: Topic,
    name: String,
    brokers: String,
    consumer: BaseConsumer,
    partitions: Vec<i32>,
}

/// A topic, ready to be read up to where it ended when this was made.
pub(crate) struct Reader {
    topic: Topic,
    name: String,
    consumer: BaseConsumer,
    ranges: HashMap<i32, Range>,
}

impl Client {
    /// Meets the brokers, also the one that keeps the group's offsets: that alone can take half a second, so it is done
    /// before the answers matter. Blocks.
    pub(crate) fn connect(sources: &Sources, topic: Topic) -> anyhow::Result<Self> {
        let name = topic.full_name(sources);
        let group = format!("{}{}", sources.topic_prefix, topic.group);
        let consumer: BaseConsumer = chassis::kafka::client(sources.brokers()?, "lab-audit")
            // To ask for its offsets. It is never joined, and nothing is committed.
            .set("group.id", &group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest")
            .set("fetch.wait.max.ms", "10")
            // What may wait in memory: bytes of payloads, which are a part of what a message takes.
            .set("queued.max.messages.kbytes", "4096")
            .set("fetch.max.bytes", "4194304")
            .create()
            .context("making a Kafka consumer")?;
        let mut client = Self {
            topic,
            name,
            brokers: sources.kafka_brokers.clone(),
            consumer,
            partitions: Vec::new(),
        };
        client.meet().with_context(|| client.doing())?;
        Ok(client)
    }

    fn meet(&mut self) -> anyhow::Result<()> {
        let metadata = self
            .consumer
            .fetch_metadata(Some(&self.name), ANSWER_WITHIN)?;
        let topic = metadata.topics().first().context("no answer")?;
        self.partitions = topic
            .partitions()
            .iter()
            .map(MetadataPartition::id)
            .collect();
        if self.partitions.is_empty() {
            anyhow::ensure!(self.topic.is_optional, "there is no such topic");
            return Ok(());
        }
        patiently(&self.consumer, || self.taken()).map(drop)
    }

    fn doing(&self) -> String {
        let (name, brokers) = (&self.name, &self.brokers);
        format!(
            "Kafka does not tell of {name} at {brokers}; check that it runs and that the address is right"
        )
    }

    /// Asks for the ends of the topic, and then for what has been consumed of it. Only messages made since `since_ms`
    /// are read, Unix milliseconds, with a margin. Blocks.
    pub(crate) fn open(self, since_ms: Option<u64>) -> anyhow::Result<Reader> {
        let ranges = patiently(&self.consumer, || self.ranges(since_ms));
        let ranges = ranges.with_context(|| self.doing())?;
        Ok(Reader {
            topic: self.topic,
            name: self.name,
            consumer: self.consumer,
            ranges,
        })
    }

    fn ranges(&self, since_ms: Option<u64>) -> anyhow::Result<HashMap<i32, Range>> {
        let mut ranges = HashMap::new();
        if self.partitions.is_empty() {
            return Ok(ranges);
        }
        // The ends first.
        for &partition in &self.partitions {
            let ends = self
                .consumer
                .fetch_watermarks(&self.name, partition, ANSWER_WITHIN);
            let (low, end) = ends?;
            let range = Range {
                start: low,
                end,
                taken: 0,
                // Retention has been here.
                whole_since_ms: (low > 0).then_some(u64::MAX),
            };
            ranges.insert(partition, range);
        }
        if let Some(since_ms) = since_ms {
            let with_margin = since_ms.saturating_sub(CLOCKS_DIFFER_MS);
            for (partition, offset) in
                at_time(&self.consumer, &self.name, &self.partitions, with_margin)?
            {
                if let Some(range) = ranges.get_mut(&partition) {
                    range.start = range.start.max(offset).min(range.end);
                    range.whole_since_ms = Some(since_ms);
                }
            }
        }
        // After the ends: what counts as consumed was consumed before the next step looks for its effect.
        for (partition, offset) in self.taken()? {
            if let Some(range) = ranges.get_mut(&partition) {
                range.taken = offset;
            }
        }
        Ok(ranges)
    }

    fn taken(&self) -> anyhow::Result<Vec<(i32, i64)>> {
        let mut asked = TopicPartitionList::new();
        for &partition in &self.partitions {
            asked.add_partition(&self.name, partition);
        }
        let taken = self.consumer.committed_offsets(asked, ANSWER_WITHIN)?;
        let taken = taken.elements();
        let taken = taken.iter().filter_map(|element| match element.offset() {
            Offset::Offset(offset) => Some((element.partition(), offset)),
            _ => None,
        });
        Ok(taken.collect())
    }
}

impl Reader {
    pub(crate) const fn topic(&self) -> Topic {
        self.topic
    }

    /// Messages there are to read, at most.
    pub(crate) fn messages(&self) -> u64 {
        let sizes = self.ranges.values().map(|range| range.end - range.start);
        sizes.filter_map(|size| u64::try_from(size).ok()).sum()
    }

    /// Reads everything, each partition in its order, and hands each message to `each`, until that returns false.
    /// Blocks.
    pub(crate) fn read(
        mut self,
        mut each: impl FnMut(&TopicMessage<'_>) -> bool,
    ) -> anyhow::Result<()> {
        // Read only the partitions that have something.
        self.ranges.retain(|_, range| range.start < range.end);
        let mut assignment = TopicPartitionList::new();
        for (partition, range) in &self.ranges {
            let start = Offset::Offset(range.start);
            assignment.add_partition_offset(&self.name, *partition, start)?;
        }
        self.consumer.assign(&assignment)?;
        // Until each range is at its end; silence is an error.
        let mut heard_at = Instant::now();
        let mut last_error = None;
        while !self.ranges.is_empty() {
            match self.consumer.poll(Duration::from_millis(500)) {
                None => {}
                Some(Ok(message)) => {
                    heard_at = Instant::now();
                    let partition = message.partition();
                    let Some(range) = self.ranges.get_mut(&partition) else {
                        continue;
                    };
                    if message.offset() < range.end && !each(&seen(self.topic, range, &message)) {
                        return Ok(());
                    }
                    if message.offset() + 1 >= range.end {
                        self.done_with(partition)?;
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => self.done_with(partition)?,
                Some(Err(error)) => last_error = Some(error),
            }
            if heard_at.elapsed() > SILENCE_MAX {
                let silent = format!("nothing came from {} for {SILENCE_MAX:?}", self.name);
                return Err(match last_error {
                    Some(error) => anyhow::Error::new(error).context(silent),
                    None => anyhow::anyhow!(silent),
                });
            }
        }
        Ok(())
    }

    /// Without this a growing partition would never end.
    fn done_with(&mut self, partition: i32) -> anyhow::Result<()> {
        if self.ranges.remove(&partition).is_some() {
            let mut one = TopicPartitionList::new();
            one.add_partition(&self.name, partition);
            self.consumer.pause(&one)?;
        }
        Ok(())
    }

    /// Where each partition ends its reading early: before the first message that was made at `until_ms` or later.
    pub(crate) fn until(&mut self, until_ms: u64) -> anyhow::Result<()> {
        let partitions: Vec<i32> = self.ranges.keys().copied().collect();
        if partitions.is_empty() {
            return Ok(());
        }
        for (partition, offset) in at_time(&self.consumer, &self.name, &partitions, until_ms)? {
            if let Some(range) = self.ranges.get_mut(&partition) {
                range.end = range.end.min(offset);
            }
        }
        Ok(())
    }
}

/// Asks again while a broker is about to come back, or a partition has no leader yet; the last answer counts.
fn patiently<T>(consumer: &BaseConsumer, ask: impl Fn() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let begun = Instant::now();
    loop {
        match ask() {
            Err(_) if begun.elapsed() < ANSWER_WITHIN => {
                // Nothing is assigned yet, so nothing comes: this is a pause.
                drop(consumer.poll(Duration::from_millis(100)));
            }
            answer => return answer,
        }
    }
}

/// The first offset of each partition whose message was made at that time or later; the partition's end is left out.
fn at_time(
    consumer: &BaseConsumer,
    name: &str,
    partitions: &[i32],
    ms: u64,
) -> anyhow::Result<Vec<(i32, i64)>> {
    let time = Offset::Offset(i64::try_from(ms).unwrap_or(i64::MAX));
    let mut asked = TopicPartitionList::new();
    for &partition in partitions {
        asked.add_partition_offset(name, partition, time)?;
    }
    let found = consumer.offsets_for_times(asked, ANSWER_WITHIN)?;
    let found = found.elements();
    Ok(found
        .iter()
        .map(|element| match element.offset() {
            Offset::Offset(offset) => (element.partition(), offset),
            // No message is that new.
            _ => (element.partition(), i64::MAX),
        })
        .collect())
}

fn seen<'a>(topic: Topic, range: &mut Range, message: &'a BorrowedMessage<'_>) -> TopicMessage<'a> {
    let headers = chassis::consumer::headers(message).readable;
    let header = |name: &str| {
        let found = headers.iter().find(|header| header.key == name)?;
        std::str::from_utf8(found.value?).ok()
    };
    let timestamp_ms = message.timestamp().to_millis();
    if range.whole_since_ms == Some(u64::MAX) {
        // The first that retention has left.
        let first = timestamp_ms.and_then(|ms| u64::try_from(ms).ok());
        range.whole_since_ms = Some(first.unwrap_or(u64::MAX - 1));
    }
    let event_id: Option<Uuid> = header("ce_id").and_then(|id| id.parse().ok());
    let made_at = event_id.map_or(0, super::scope::ms_of);
    let event_type = header("ce_type").unwrap_or_default();
    let payload = message.payload().unwrap_or_default();
    let known = topic.types.iter().find(|(name, _)| *name == event_type);
    let payment_id = known.and_then(|_| payment_of(payload));
    let fields = match (known, payment_id) {
        (Some((_, names)), Some(_)) => fields_of(names, payload),
        _ => Default::default(),
    };
    let key = message.key().unwrap_or_default();
    TopicMessage {
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms,
        key: std::str::from_utf8(key)
            .map_or_else(|_| key.escape_ascii().to_string().into(), Cow::from),
        event_id,
        event_type,
        outbox_seq: header("outbox_seq").and_then(|seq| seq.parse().ok()),
        outbox_epoch: header("outbox_epoch").unwrap_or_default(),
        payment_id,
        fields,
        is_consumed: message.offset() < range.taken,
        is_whole: range.whole_since_ms.is_none_or(|since| made_at >= since),
    }
}

/// The payment that an event's body is about, whatever else is in it.
pub(super) fn payment_of(payload: &[u8]) -> Option<Uuid> {
    #[derive(Deserialize)]
    struct Body {
        payment_id: Uuid,
    }
    let body: Body = serde_json::from_slice(payload).ok()?;
    Some(body.payment_id)
}

/// The values of those fields that are in `names`: a field that the payload lacks, or a payload that can't be read, is empty.
fn fields_of(names: &[&str], payload: &[u8]) -> [Option<String>; FIELDS.len()] {
    let body: Map<String, Value> = serde_json::from_slice(payload).unwrap_or_default();
    FIELDS.map(|field| {
        names.contains(&field).then(|| match body.get(field) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) if field == "wallet_id" => {
                // An id has many spellings.
                Uuid::parse_str(text).map_or_else(|_| text.clone(), |id| id.to_string())
            }
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_a_message_lacks_is_empty_and_one_that_its_type_lacks_is_none() {
        let names = ["wallet_id", "amount", "currency", "receipt"];
        let body = br#"{
            "wallet_id": "{01900000-0000-7000-8000-00000000000A}", "amount": 1.50, "currency": "INR",
            "account_number": "WIFI-1", "currency": "USD"
        }"#;
        let text = |value: &str| Some(value.to_owned());
        let expected = [
            text("01900000-0000-7000-8000-00000000000a"),
            text("1.5"),
            text("USD"),
            None,
            None,
            text(""),
            None,
            None,
        ];
        assert_eq!(fields_of(&names, body), expected);
        let none_readable = fields_of(&names, b"{ not json");
        assert_eq!(none_readable.map(Option::unwrap_or_default), [""; 8]);
    }
}
