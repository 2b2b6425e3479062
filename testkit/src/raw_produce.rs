//! A record written byte by byte, for what no Rust client can send: a header's name that is not text, or that has a NUL in it.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::eventually::eventually;
use crate::topics::kafka_brokers;

/// Kafka's error codes while a new topic has no leader yet: `UNKNOWN_TOPIC_OR_PARTITION` and `NOT_LEADER_OR_FOLLOWER`.
const NO_LEADER_YET: [i16; 2] = [3, 6];

/// Publishes one message whose key, payload and headers, names included, are any bytes.
pub async fn produce_bytes(
    topic: &str,
    partition: i32,
    key: &[u8],
    payload: &[u8],
    headers: &[(&[u8], &[u8])],
) {
    let request = request(topic, partition, &batch(&record(key, payload, headers)));
    let published = async || {
        let answer = exchange(&kafka_brokers(), &request).await;
        // The correlation id, two counts, the topic's name with its length and the partition come before it.
        let at = 4 + 4 + 2 + topic.len() + 4 + 4;
        let code = answer.get(at..at + 2).expect("the answer has a code");
        let code = i16::from_be_bytes(code.try_into().expect("two bytes were taken"));
        if NO_LEADER_YET.contains(&code) {
            return Err(format!("error {code}"));
        }
        assert_eq!(code, 0, "the broker refuses the record");
        Ok(())
    };
    eventually("the partition has a leader", published).await;
}

/// Sends a request, and returns the answer of the broker at `address`.
pub(crate) async fn exchange(address: &str, request: &[u8]) -> Vec<u8> {
    let mut connection = TcpStream::connect(address)
        .await
        .expect("the test broker is one, and listens");
    let mut whole = Vec::new();
    with_length(&mut whole, request);
    let written = connection.write_all(&whole).await;
    written.expect("the broker reads");
    let length = connection.read_i32().await.expect("the broker answers");
    let mut answer = vec![0; usize::try_from(length).expect("an answer has a length")];
    let read = connection.read_exact(&mut answer).await;
    read.expect("the answer is whole");
    answer
}

/// A `Produce` request of version 3.
fn request(topic: &str, partition: i32, batch: &[u8]) -> Vec<u8> {
    let mut request = Vec::new();
    request.extend(0_i16.to_be_bytes()); // which request
    request.extend(3_i16.to_be_bytes()); // its version
    request.extend(0_i32.to_be_bytes()); // the correlation id
    request.extend((-1_i16).to_be_bytes()); // no client id
    request.extend((-1_i16).to_be_bytes()); // no transaction
    request.extend((-1_i16).to_be_bytes()); // acknowledged by all
    request.extend(10_000_i32.to_be_bytes()); // within so many milliseconds
    request.extend(1_i32.to_be_bytes()); // topics
    string(&mut request, topic);
    request.extend(1_i32.to_be_bytes()); // partitions
    request.extend(partition.to_be_bytes());
    with_length(&mut request, batch);
    request
}

/// A record batch of format 2 with one record.
fn batch(record: &[u8]) -> Vec<u8> {
    let (seconds, nanos) = Uuid::now_v7()
        .get_timestamp()
        .expect("an id of version 7 has a time")
        .to_unix();
    let ms = i64::try_from(seconds * 1_000 + u64::from(nanos / 1_000_000)).expect("it is not far");
    let mut checked = Vec::new();
    checked.extend(0_i16.to_be_bytes()); // attributes: no compression
    checked.extend(0_i32.to_be_bytes()); // the last record's offset in the batch
    checked.extend(ms.to_be_bytes());
    checked.extend(ms.to_be_bytes());
    checked.extend((-1_i64).to_be_bytes()); // no producer id
    checked.extend((-1_i16).to_be_bytes()); // no producer epoch
    checked.extend((-1_i32).to_be_bytes()); // no sequence
    checked.extend(1_i32.to_be_bytes()); // records
    varint(&mut checked, record.len());
    checked.extend(record);
    let mut counted = Vec::new();
    counted.extend((-1_i32).to_be_bytes()); // the leader's epoch
    counted.push(2); // the format
    counted.extend(crc32c(&checked).to_be_bytes());
    counted.extend(checked);
    let mut batch = 0_i64.to_be_bytes().to_vec(); // the first offset
    with_length(&mut batch, &counted);
    batch
}

fn record(key: &[u8], payload: &[u8], headers: &[(&[u8], &[u8])]) -> Vec<u8> {
    // Attributes, and the time and the offset since the batch's first.
    let mut record = vec![0, 0, 0];
    let mut add = |bytes: &[u8]| {
        varint(&mut record, bytes.len());
        record.extend(bytes);
    };
    add(key);
    add(payload);
    varint(&mut record, headers.len());
    for (name, value) in headers {
        for bytes in [name, value] {
            varint(&mut record, bytes.len());
            record.extend(*bytes);
        }
    }
    record
}

pub(crate) fn string(into: &mut Vec<u8>, text: &str) {
    let length = i16::try_from(text.len()).expect("a name is short");
    into.extend(length.to_be_bytes());
    into.extend(text.as_bytes());
}

fn with_length(into: &mut Vec<u8>, bytes: &[u8]) {
    let length = i32::try_from(bytes.len()).expect("a test's message is short");
    into.extend(length.to_be_bytes());
    into.extend(bytes);
}

/// A length as Kafka's records have it: zigzag, seven bits a byte, the least significant first.
fn varint(into: &mut Vec<u8>, length: usize) {
    let mut rest = length << 1;
    while rest > 0x7f {
        into.push(u8::try_from(rest & 0x7f).expect("seven bits") | 0x80);
        rest >>= 7;
    }
    into.push(u8::try_from(rest).expect("seven bits"));
}

fn crc32c(bytes: &[u8]) -> u32 {
    let shifted = |crc: u32, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
    let added = |crc, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), shifted);
    !bytes.iter().fold(u32::MAX, added)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topics::{TopicReader, unique_prefix};

    #[tokio::test]
    async fn a_broker_takes_any_name_of_a_header_and_readers_get_the_record_as_it_was_sent() {
        let topic = format!("{}raw", unique_prefix());
        let reader = TopicReader::create(&topic, 2).await;
        let payload = "p".repeat(300);
        let headers: [(&[u8], &[u8]); 2] = [(b"name", b"value"), (b"empty", b"")];
        produce_bytes(&topic, 1, b"key", payload.as_bytes(), &headers).await;
        let record = reader.next().await;
        assert_eq!((record.partition, record.offset), (1, 0));
        assert_eq!(record.key.as_deref(), Some(&b"key"[..]));
        assert_eq!(record.payload.as_deref(), Some(payload.as_bytes()));
        assert_eq!(record.header("name"), Some("value"));
        assert_eq!(record.header("empty"), Some(""));
        produce_bytes(&topic, 0, b"key", b"{}", &[(b"caf\xe9", b"v")]).await;
    }
}
