//! Looking inside: the rows of every table, what the provider has received, and the messages of the topics; newest
//! first, a page at a time, by key.

use std::num::NonZeroU16;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chassis::Problem;
use chassis::http::{Path, Query};
use diesel::sql_types::{BigInt, Jsonb, Nullable, Text};
use diesel_async::RunQueryDsl as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::lab::Lab;
use super::{away, messages};
use crate::http;

/// What can be looked at.
struct Table {
    name: &'static str,
    title: &'static str,
    about: &'static str,
    columns: &'static [(&'static str, Kind)],
    source: Source,
}

/// What a column holds: how the page shows it.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Id,
    Text,
    Amount,
    Number,
    Time,
    Json,
}

#[derive(Clone, Copy)]
enum Source {
    /// The columns that are selected and from where, the column that rows are in the order of, and its type.
    Wallet(&'static str, &'static str, Key),
    Bills(&'static str, &'static str, Key),
    Provider,
    /// The topic without its prefix.
    Topic(&'static str),
}

/// The type of the column that rows are in the order of.
#[derive(Clone, Copy)]
enum Key {
    Uuid,
    Bigint,
    Text,
}

use Key::{Bigint, Text as TextKey, Uuid};
use Kind::{Amount, Id, Json as Object, Number, Text as Words, Time};
use Source::{Bills, Provider, Topic, Wallet};

const OUTBOX: &str = "seq, id, type, aggregateid, payload, created_at from outbox";
const OUTBOX_COLUMNS: &[(&str, Kind)] = &[
    ("seq", Number),
    ("id", Id),
    ("type", Words),
    ("aggregateid", Id),
    ("payload", Object),
    ("created_at", Time),
];
const INBOX: &str = "consumer, event_id, seen_at from inbox";
const INBOX_COLUMNS: &[(&str, Kind)] = &[("consumer", Words), ("event_id", Id), ("seen_at", Time)];
const DEAD_LETTERS: &str = "id, topic, kafka_partition, kafka_offset, encode(key, 'escape') as key, reason, \
     encode(payload, 'escape') as payload, headers, created_at from dead_letters";
const DEAD_LETTER_COLUMNS: &[(&str, Kind)] = &[
    ("id", Number),
    ("topic", Words),
    ("kafka_partition", Number),
    ("kafka_offset", Number),
    ("key", Id),
    ("reason", Words),
    ("payload", Words),
    ("headers", Object),
    ("created_at", Time),
];
const PARKED: &str =
    "aggregateid, seq, reason, tries, parked_at, replay_requested_at from parked_events";
const PARKED_COLUMNS: &[(&str, Kind)] = &[
    ("aggregateid", Id),
    ("seq", Number),
    ("reason", Words),
    ("tries", Number),
    ("parked_at", Time),
    ("replay_requested_at", Time),
];
const MESSAGE_COLUMNS: &[(&str, Kind)] = &[
    ("at", Time),
    ("partition", Number),
    ("offset", Number),
    ("key", Id),
    ("payment_id", Id),
    ("type", Words),
    ("headers", Object),
    ("payload", Object),
];

static TABLES: [Table; 15] = [
    Table {
        name: "wallets",
        title: "Wallets",
        about: "The balance is a cache of the ledger, changed in the same transaction.",
        columns: &[
            ("id", Id),
            ("balance", Amount),
            ("currency", Words),
            ("version", Number),
            ("created_at", Time),
        ],
        source: Wallet(
            "id, trim_scale(balance)::text as balance, currency, version, created_at from wallets",
            "id",
            Uuid,
        ),
    },
    Table {
        name: "payments",
        title: "Payments",
        about: "What customers asked for, and how it ended.",
        columns: &[
            ("payment_id", Id),
            ("wallet_id", Id),
            ("amount", Amount),
            ("currency", Words),
            ("status", Words),
            ("receipt", Words),
            ("reason", Words),
            ("created_at", Time),
            ("updated_at", Time),
        ],
        source: Wallet(
            "id as payment_id, wallet_id, trim_scale(amount)::text as amount, currency, status, receipt, reason, \
             created_at, updated_at from payments",
            "id",
            Uuid,
        ),
    },
    Table {
        name: "transfers",
        title: "Transfers",
        about: "The ledger: double entry, append-only.",
        columns: &[
            ("id", Id),
            ("kind", Words),
            ("debit_account", Id),
            ("credit_account", Id),
            ("amount", Amount),
            ("payment_id", Id),
            ("created_at", Time),
        ],
        source: Wallet(
            "id, kind, debit_account, credit_account, trim_scale(amount)::text as amount, payment_id, created_at \
             from transfers",
            "id",
            Uuid,
        ),
    },
    Table {
        name: "outbox",
        title: "Outbox of the wallet",
        about: "A row is an event that is not yet known to be published.",
        columns: OUTBOX_COLUMNS,
        source: Wallet(OUTBOX, "seq", Bigint),
    },
    Table {
        name: "parked",
        title: "Parked events of the wallet",
        about: "Events that Kafka refuses for good; their keys wait behind them.",
        columns: PARKED_COLUMNS,
        source: Wallet(PARKED, "aggregateid", TextKey),
    },
    Table {
        name: "inbox",
        title: "Inbox of the wallet",
        about: "Results that were taken: a redelivery finds its row and does nothing.",
        columns: INBOX_COLUMNS,
        source: Wallet(INBOX, "event_id", Uuid),
    },
    Table {
        name: "dead-letters",
        title: "Dead letters of the wallet",
        about: "Messages that no retry can help, with their bytes.",
        columns: DEAD_LETTER_COLUMNS,
        source: Wallet(DEAD_LETTERS, "id", Bigint),
    },
    Table {
        name: "wallet-events",
        title: "Kafka: wallet.events",
        about: "What the relays of the wallet have published.",
        columns: MESSAGE_COLUMNS,
        source: Topic("wallet.events"),
    },
    Table {
        name: "bills",
        title: "Bills",
        about: "What the bill payer was asked to pay, and how far it is.",
        columns: &[
            ("payment_id", Id),
            ("wallet_id", Id),
            ("amount", Amount),
            ("currency", Words),
            ("status", Words),
            ("attempts", Number),
            ("receipt", Words),
            ("last_error", Words),
            ("created_at", Time),
            ("updated_at", Time),
        ],
        source: Bills(
            "payment_id, wallet_id, trim_scale(amount)::text as amount, currency, status, attempts, receipt, \
             last_error, created_at, updated_at from bills",
            "payment_id",
            Uuid,
        ),
    },
    Table {
        name: "provider-payments",
        title: "The provider's payments",
        about: "What the provider has received: each payment once, however often it was asked.",
        columns: &[
            ("payment_id", Id),
            ("status", Words),
            ("amount", Amount),
            ("currency", Words),
            ("account_number", Words),
            ("receipt", Words),
            ("calls", Number),
        ],
        source: Provider,
    },
    Table {
        name: "bill-outbox",
        title: "Outbox of the bill payer",
        about: "Results that are not yet known to be published.",
        columns: OUTBOX_COLUMNS,
        source: Bills(OUTBOX, "seq", Bigint),
    },
    Table {
        name: "bill-parked",
        title: "Parked events of the bill payer",
        about: "Results that Kafka refuses for good.",
        columns: PARKED_COLUMNS,
        source: Bills(PARKED, "aggregateid", TextKey),
    },
    Table {
        name: "bill-inbox",
        title: "Inbox of the bill payer",
        about: "Empty on purpose: a bill's own row is what a redelivery finds.",
        columns: INBOX_COLUMNS,
        source: Bills(INBOX, "event_id", Uuid),
    },
    Table {
        name: "bill-dead-letters",
        title: "Dead letters of the bill payer",
        about: "Messages that no retry can help, with their bytes.",
        columns: DEAD_LETTER_COLUMNS,
        source: Bills(DEAD_LETTERS, "id", Bigint),
    },
    Table {
        name: "bill-events",
        title: "Kafka: bill.events",
        about: "What the relay of the bill payer has published.",
        columns: MESSAGE_COLUMNS,
        source: Topic("bill.events"),
    },
];

/// `?before=&limit=&contains=`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    before: Option<String>,
    limit: Option<NonZeroU16>,
    /// The key, or the beginning of it.
    #[serde(default)]
    contains: String,
}

/// Rows of a page, unless asked for otherwise and at the most.
const LIMIT_DEFAULT: u16 = 50;
const LIMIT_MAX: u16 = 500;

impl Wanted {
    fn limit(&self) -> u16 {
        self.limit
            .map_or(LIMIT_DEFAULT, |limit| limit.get().min(LIMIT_MAX))
    }
}

/// Objects with a value for each column, and the cursor of the next page.
type Rows = (Vec<Value>, Option<String>);

/// `GET /api/tables`.
pub(super) async fn list() -> Json<Value> {
    let tables: Vec<Value> = TABLES
        .iter()
        .map(|table| json!({ "name": table.name, "title": table.title, "about": table.about }))
        .collect();
    Json(json!({ "tables": tables }))
}

/// `GET /api/tables/{name}`.
///
/// # Errors
/// There is no such table, the cursor is none of its, or what holds it is away.
pub(super) async fn show(
    State(lab): State<Arc<Lab>>,
    Path(name): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Value>, Problem> {
    let table = TABLES.iter().find(|table| table.name == name);
    let table = table.ok_or_else(|| Problem::not_found("table", &name))?;
    let (rows, next_before) = match table.source {
        Wallet(select, key, kind) => {
            let pool = &lab.databases().await?.wallet;
            rows(pool, (select, key, kind), &wanted).await?
        }
        Bills(select, key, kind) => {
            let pool = &lab.databases().await?.bills;
            rows(pool, (select, key, kind), &wanted).await?
        }
        Provider => received(&lab, &wanted).await?,
        Topic(topic) => messages_of(&lab, topic, &wanted).await?,
    };
    let columns: Vec<Value> = table
        .columns
        .iter()
        .map(|(name, kind)| json!({ "name": name, "kind": kind }))
        .collect();
    let in_order = |row: &Value| -> Vec<Value> {
        let of = |name: &str| row.get(name).cloned().unwrap_or(Value::Null);
        table.columns.iter().map(|(name, _)| of(name)).collect()
    };
    let rows: Vec<Vec<Value>> = rows.iter().map(in_order).collect();
    Ok(Json(
        json!({ "columns": columns, "rows": rows, "next_before": next_before }),
    ))
}

#[derive(diesel::QueryableByName)]
struct Row {
    #[diesel(sql_type = Jsonb)]
    content: Value,
    #[diesel(sql_type = Text)]
    cursor: String,
}

async fn rows(
    pool: &chassis::database::Pool,
    (select, key, kind): (&str, &str, Key),
    wanted: &Wanted,
) -> Result<Rows, Problem> {
    let cast = match kind {
        Uuid => "uuid",
        Bigint => "bigint",
        TextKey => "text",
    };
    let is_readable = |cursor: &String| match kind {
        Uuid => cursor.parse::<uuid::Uuid>().is_ok(),
        Bigint => cursor.parse::<i64>().is_ok(),
        TextKey => true,
    };
    if !wanted.before.as_ref().is_none_or(is_readable) {
        return Err(unknown_cursor());
    }
    // All text of it is ours; what was asked for is bound.
    let statement = format!(
        "select to_jsonb(page) - 'cursor' as content, cursor from (select {key}::text as cursor, {select} \
         where ($1 is null or {key} < $1::{cast}) and starts_with({key}::text, $2) \
         order by {key} desc limit $3) page"
    );
    let limit = i64::from(wanted.limit());
    let mut conn = pool.get().await?;
    let found: Vec<Row> = diesel::sql_query(statement)
        .bind::<Nullable<Text>, _>(&wanted.before)
        .bind::<Text, _>(&wanted.contains)
        .bind::<BigInt, _>(limit)
        .load(&mut conn)
        .await?;
    let is_full = i64::try_from(found.len()).is_ok_and(|found| found >= limit);
    let next = found.last().filter(|_| is_full);
    let next = next.map(|row| row.cursor.clone());
    Ok((found.into_iter().map(|row| row.content).collect(), next))
}

fn unknown_cursor() -> Problem {
    Problem::invalid("has to be the next_before of the page before").in_field("before")
}

/// A page of the provider's own list.
#[derive(Deserialize)]
struct Received {
    payments: Vec<Value>,
    next_before: Option<u64>,
}

async fn received(lab: &Lab, wanted: &Wanted) -> Result<Rows, Problem> {
    let provider = lab.stack().await?.mock_provider;
    let named = |mut payment: Value| {
        if let Some(fields) = payment.as_object_mut()
            && let Some(reference) = fields.remove("reference")
        {
            fields.insert("payment_id".to_owned(), reference);
        }
        payment
    };
    let ask = async || -> anyhow::Result<Rows> {
        let client = http::client();
        // The provider finds whole references only; anything else could be a path of its own.
        if !wanted.contains.is_empty() {
            let Ok(reference) = wanted.contains.parse::<uuid::Uuid>() else {
                return Ok((Vec::new(), None));
            };
            let url = format!("{provider}/payments/{reference}");
            let answer = client.get(url).send().await?;
            let found = answer.status().is_success();
            let payment = if found {
                Some(answer.json().await?)
            } else {
                None
            };
            return Ok((payment.into_iter().map(named).collect(), None));
        }
        let mut url = format!("{provider}/payments?limit={}", wanted.limit());
        if let Some(before) = &wanted.before {
            url.push_str(&format!("&before={before}"));
        }
        let answer = client.get(url).send().await?.error_for_status()?;
        let page: Received = answer.json().await?;
        let payments = page.payments.into_iter().map(named).collect();
        Ok((payments, page.next_before.map(|next| next.to_string())))
    };
    if wanted
        .before
        .as_ref()
        .is_some_and(|before| before.parse::<u64>().is_err())
    {
        return Err(unknown_cursor());
    }
    ask().await.map_err(|error| away(&error))
}

async fn messages_of(lab: &Lab, topic: &str, wanted: &Wanted) -> Result<Rows, Problem> {
    let stack = lab.stack().await?;
    let before = wanted.before.as_deref().unwrap_or("{}");
    let before: messages::Cursor = serde_json::from_str(before).map_err(|_| unknown_cursor())?;
    let topic = format!("{}{topic}", stack.topic_prefix);
    let contains = wanted.contains.clone();
    let limit = usize::from(wanted.limit());
    let read = tokio::task::spawn_blocking(move || {
        messages::page((&stack.kafka_brokers, &topic), &before, &contains, limit)
    });
    let read = read.await.map_err(|error| Problem::internal(&error))?;
    let (rows, next) = read.map_err(|error| away(&error))?;
    let next = next.and_then(|next| serde_json::to_string(&next).ok());
    Ok((rows, next))
}
