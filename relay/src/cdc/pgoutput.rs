//! Decodes the two messages of `pgoutput` that carry rows: Relation, which says in which order the columns
//! come, and Insert.
//!
//! Pure, and total: any bytes give an event, nothing, or an error. Source: PostgreSQL's manual, "Logical
//! Replication Message Formats", protocol version 1; values come as text.

use std::collections::HashMap;

use outbox::Event;

/// Why bytes are not an event.
#[expect(missing_docs, reason = "the messages say it")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the message is cut off")]
    CutOff,
    #[error("the message has text that is not UTF-8")]
    NotUtf8,
    #[error("a row of a table that was not described: {0}")]
    UnknownRelation(u32),
    #[error("the table {table} has no column {column}")]
    MissingColumn { table: String, column: &'static str },
    #[error("a row of {found} columns in a table of {expected}")]
    ColumnCount { expected: usize, found: usize },
    #[error("a value of the unknown kind {0}")]
    UnknownKind(u8),
    #[error("the column {0} has no text")]
    NoText(&'static str),
    #[error("the column {column} is not {wanted}: {text:?}")]
    NotA {
        column: &'static str,
        wanted: &'static str,
        text: String,
    },
}

/// The columns that make an event, in the order of [`Row`]. Rows in the log that are older than the last one lack it.
const COLUMNS: [&str; 11] = [
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
];

/// The first of them that each row has.
const REQUIRED: usize = COLUMNS.len() - 1;

/// The texts of a row, one for each of [`COLUMNS`].
type Row<'a> = [Option<&'a str>; COLUMNS.len()];

/// Remembers the tables that were described, decodes their rows.
#[derive(Debug, Default)]
pub struct Decoder {
    /// For each column of a table, by its number in the catalog, its place in [`Row`].
    relations: HashMap<u32, Vec<Option<usize>>>,
    described_again: bool,
}

impl Decoder {
    /// Decodes one message: an event if it is an Insert, nothing if it is any other.
    ///
    /// # Errors
    /// The bytes are not such a message, or the table is not an outbox.
    pub fn decode(&mut self, message: &[u8]) -> Result<Option<Event>, DecodeError> {
        let mut bytes = Bytes(message);
        match bytes.u8()? {
            b'R' => {
                let (number, columns) = relation(&mut bytes)?;
                self.described_again |= self.relations.insert(number, columns).is_some();
                Ok(None)
            }
            b'I' => {
                let number = bytes.u32()?;
                let columns = self
                    .relations
                    .get(&number)
                    .ok_or(DecodeError::UnknownRelation(number))?;
                event(row(&mut bytes, columns)?).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Whether a table was described again since this was asked last. PostgreSQL does that before the next row when
    /// the table or a publication was altered: rows before may be missing.
    pub fn take_described_again(&mut self) -> bool {
        std::mem::take(&mut self.described_again)
    }
}

fn relation(bytes: &mut Bytes<'_>) -> Result<(u32, Vec<Option<usize>>), DecodeError> {
    let number = bytes.u32()?;
    bytes.text_to_zero()?;
    let table = bytes.text_to_zero()?;
    bytes.u8()?;
    let count = usize::from(bytes.u16()?);
    let mut columns = Vec::new();
    for _ in 0..count {
        bytes.u8()?;
        let name = bytes.text_to_zero()?;
        bytes.u32()?;
        bytes.u32()?;
        columns.push(COLUMNS.iter().position(|column| *column == name));
    }
    for (place, column) in COLUMNS.iter().take(REQUIRED).enumerate() {
        if !columns.contains(&Some(place)) {
            return Err(DecodeError::MissingColumn {
                table: table.to_owned(),
                column,
            });
        }
    }
    Ok((number, columns))
}

fn row<'a>(bytes: &mut Bytes<'a>, columns: &[Option<usize>]) -> Result<Row<'a>, DecodeError> {
    // 'N': the new row follows.
    bytes.u8()?;
    let found = usize::from(bytes.u16()?);
    if found != columns.len() {
        return Err(DecodeError::ColumnCount {
            expected: columns.len(),
            found,
        });
    }
    let mut row = Row::default();
    for column in columns {
        let value = match bytes.u8()? {
            b't' => {
                let length = bytes.u32()?;
                let length = usize::try_from(length).map_err(|_| DecodeError::CutOff)?;
                Some(bytes.take(length)?)
            }
            // Null, or not sent because it did not change, which an Insert does not have.
            b'n' | b'u' => None,
            kind => return Err(DecodeError::UnknownKind(kind)),
        };
        if let Some(text) = column.and_then(|place| row.get_mut(place)) {
            *text = value
                .map(std::str::from_utf8)
                .transpose()
                .map_err(|_| DecodeError::NotUtf8)?;
        }
    }
    Ok(row)
}

fn event(row: Row<'_>) -> Result<Event, DecodeError> {
    let mut texts = COLUMNS.iter().zip(row);
    let mut next = || match texts.next() {
        Some((_, Some(text))) => Ok(text),
        Some((column, None)) => Err(DecodeError::NoText(column)),
        None => Err(DecodeError::CutOff),
    };
    let (seq, id) = (next()?, next()?);
    Ok(Event {
        seq: seq.parse().map_err(|_| not_a("seq", "a number", seq))?,
        id: id.parse().map_err(|_| not_a("id", "a UUID", id))?,
        aggregatetype: next()?.to_owned(),
        aggregateid: next()?.to_owned(),
        event_type: next()?.to_owned(),
        source: next()?.to_owned(),
        specversion: next()?.to_owned(),
        contenttype: next()?.to_owned(),
        traceparent: next()?.to_owned(),
        payload: next()?.to_owned(),
        tracestate: next().unwrap_or_default().to_owned(),
    })
}

fn not_a(column: &'static str, wanted: &'static str, text: &str) -> DecodeError {
    DecodeError::NotA {
        column,
        wanted,
        text: text.chars().take(100).collect(),
    }
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(DecodeError::CutOff)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(DecodeError::CutOff)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    fn text_to_zero(&mut self) -> Result<&'a str, DecodeError> {
        let length = self.0.iter().position(|byte| *byte == 0);
        let text = self.take(length.ok_or(DecodeError::CutOff)?)?;
        self.u8()?;
        std::str::from_utf8(text).map_err(|_| DecodeError::NotUtf8)
    }
}
