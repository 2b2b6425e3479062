//! Looking inside: the rows of every table, what the provider has received, and the messages of the topics; newest
//! first, a page at a time, by key.

mod catalogue;

use std::num::NonZeroU16;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use chassis::Problem;
use chassis::http::{Path, Query};
use diesel::sql_types::{BigInt, Jsonb, Nullable, Text};
use diesel_async::RunQueryDsl as _;
use lab_stack::http;
use serde::Deserialize;
use serde_json::{Value, json};

use self::catalogue::{Key, Source, TABLES};
use super::lab::Lab;
use super::messages;
use super::problems::away;

/// `?before=&limit=&contains=`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    before: Option<String>,
    limit: Option<NonZeroU16>,
    #[serde(default)]
    contains: String,
}

/// Rows of a page, by default and at most.
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
pub(super) async fn show(
    State(lab): State<Arc<Lab>>,
    Path(name): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Value>, Problem> {
    let table = TABLES.iter().find(|table| table.name == name);
    let table = table.ok_or_else(|| Problem::not_found("table", &name))?;
    let (rows, next_before) = match table.source {
        Source::Wallet(select, key, kind) => {
            let pool = &lab.databases().await?.wallet;
            rows(pool, (select, key, kind), &wanted).await?
        }
        Source::Bills(select, key, kind) => {
            let pool = &lab.databases().await?.bills;
            rows(pool, (select, key, kind), &wanted).await?
        }
        Source::Provider => received(&lab, &wanted).await?,
        Source::Topic(topic) => messages_of(&lab, topic, &wanted).await?,
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
        Key::Uuid => "uuid",
        Key::Bigint => "bigint",
        Key::Text => "text",
    };
    let is_readable = |cursor: &String| match kind {
        Key::Uuid => cursor.parse::<uuid::Uuid>().is_ok(),
        Key::Bigint => cursor.parse::<i64>().is_ok(),
        Key::Text => true,
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
