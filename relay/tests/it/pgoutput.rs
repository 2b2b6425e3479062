//! Decoding what PostgreSQL sends, by value: any bytes give an event, nothing or an error.

use outbox::Event;
use proptest::prelude::*;
use relay::cdc::pgoutput::{DecodeError, Decoder};
use uuid::Uuid;

/// The table's columns, and one more that the relay does not know.
const COLUMNS: [&str; 13] = [
    "seq",
    "id",
    "aggregatetype",
    "aggregateid",
    "type",
    "source",
    "specversion",
    "contenttype",
    "traceparent",
    "payload",
    "tracestate",
    "created_at",
    "colour",
];

#[test]
fn columns_are_found_by_name_in_whatever_order_they_come() {
    let mut order: Vec<&str> = COLUMNS.to_vec();
    for _ in 0..order.len() {
        order.rotate_left(1);
        let mut decoder = Decoder::default();
        assert_eq!(decoder.decode(&relation(7, &order)), Ok(None));
        let values: Vec<_> = order.iter().map(|column| value(column)).collect();
        assert_eq!(decoder.decode(&insert(7, &values)), Ok(Some(expected())));
    }
}

#[test]
fn a_table_without_a_needed_column_is_an_error_that_names_it() {
    for missing in 0..10 {
        let mut columns = COLUMNS.to_vec();
        let column = columns.remove(missing);
        let error = Decoder::default().decode(&relation(7, &columns));
        let table = "outbox".to_owned();
        assert_eq!(error, Err(DecodeError::MissingColumn { table, column }));
    }
}

#[test]
fn a_row_that_is_older_than_the_column_tracestate_is_an_event() {
    let mut columns = COLUMNS.to_vec();
    columns.retain(|column| *column != "tracestate");
    let mut decoder = Decoder::default();
    assert_eq!(decoder.decode(&relation(7, &columns)), Ok(None));
    let values: Vec<_> = columns.iter().map(|column| value(column)).collect();
    let event = Event {
        tracestate: String::new(),
        ..expected()
    };
    assert_eq!(decoder.decode(&insert(7, &values)), Ok(Some(event)));
}

#[test]
fn a_row_of_an_unknown_table_or_without_a_needed_value_is_an_error() {
    let mut decoder = Decoder::default();
    let mut values: Vec<_> = COLUMNS.iter().map(|column| value(column)).collect();
    let row = decoder.decode(&insert(7, &values));
    assert_eq!(row, Err(DecodeError::UnknownRelation(7)));
    decoder.decode(&relation(7, &COLUMNS)).unwrap();
    values[3] = None;
    let row = decoder.decode(&insert(7, &values));
    assert_eq!(row, Err(DecodeError::NoText("aggregateid")));
    values.pop();
    let row = decoder.decode(&insert(7, &values));
    let (expected, found) = (13, 12);
    assert_eq!(row, Err(DecodeError::ColumnCount { expected, found }));
}

proptest! {
    #[test]
    fn random_bytes_never_panic(
        tag in prop::sample::select(b"RIBCOYM".to_vec()),
        mut message in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut decoder = Decoder::default();
        decoder.decode(&relation(7, &COLUMNS)).unwrap();
        drop(decoder.decode(&message));
        message.insert(0, tag);
        drop(decoder.decode(&message));
    }

    #[test]
    fn damaged_messages_never_panic(
        is_relation: bool,
        damages in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
        is_cut: bool,
    ) {
        let mut decoder = Decoder::default();
        decoder.decode(&relation(7, &COLUMNS)).unwrap();
        let values: Vec<_> = COLUMNS.iter().map(|column| value(column)).collect();
        let mut message = if is_relation { relation(7, &COLUMNS) } else { insert(7, &values) };
        for (place, byte) in damages {
            let place = place.index(message.len());
            message[place] = byte;
        }
        if is_cut {
            message.truncate(cut.index(message.len()));
        }
        drop(decoder.decode(&message));
        drop(decoder.decode(&insert(7, &values)));
    }

    #[test]
    fn a_message_that_is_cut_off_is_an_error(cut in any::<prop::sample::Index>()) {
        let values: Vec<_> = COLUMNS.iter().map(|column| value(column)).collect();
        for message in [relation(7, &COLUMNS), insert(7, &values)] {
            let mut decoder = Decoder::default();
            decoder.decode(&relation(7, &COLUMNS)).unwrap();
            let cut = cut.index(message.len());
            prop_assert_eq!(decoder.decode(&message[..cut]), Err(DecodeError::CutOff));
        }
    }
}

fn expected() -> Event {
    Event {
        seq: 42,
        id: Uuid::from_u128(1),
        aggregatetype: "aggregatetype".to_owned(),
        aggregateid: "aggregateid".to_owned(),
        event_type: "type".to_owned(),
        source: "source".to_owned(),
        specversion: "specversion".to_owned(),
        contenttype: "contenttype".to_owned(),
        traceparent: "traceparent".to_owned(),
        tracestate: "tracestate".to_owned(),
        payload: "payload".to_owned(),
    }
}

fn value(column: &str) -> Option<String> {
    Some(match column {
        "seq" => "42".to_owned(),
        "id" => Uuid::from_u128(1).to_string(),
        other => other.to_owned(),
    })
}

fn relation(number: u32, columns: &[&str]) -> Vec<u8> {
    let mut bytes = vec![b'R'];
    bytes.extend(number.to_be_bytes());
    bytes.extend(b"public\0outbox\0d");
    bytes.extend(u16::try_from(columns.len()).unwrap().to_be_bytes());
    for column in columns {
        bytes.push(0);
        bytes.extend(column.as_bytes());
        bytes.push(0);
        bytes.extend(25_u32.to_be_bytes());
        bytes.extend(u32::MAX.to_be_bytes());
    }
    bytes
}

fn insert(number: u32, values: &[Option<String>]) -> Vec<u8> {
    let mut bytes = vec![b'I'];
    bytes.extend(number.to_be_bytes());
    bytes.push(b'N');
    bytes.extend(u16::try_from(values.len()).unwrap().to_be_bytes());
    for value in values {
        match value {
            None => bytes.push(b'n'),
            Some(text) => {
                bytes.push(b't');
                bytes.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
                bytes.extend(text.as_bytes());
            }
        }
    }
    bytes
}
