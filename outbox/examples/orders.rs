//! The outbox pattern in one file: a shop takes orders, and a warehouse ships each of them once.
//!
//! `DATABASE_URL=postgres://… cargo run --example orders -p outbox` works in any database that is empty; with `./dev up`
//! running, that of the URL in `.dev/database-url` is one. Kafka is not needed: the example prints what a relay would
//! publish.

use std::error::Error;
use std::io::Write;

use diesel::QueryResult;
use diesel::sql_types::{Integer, Text};
use diesel_async::{
    AsyncConnection as _, AsyncMigrationHarness, AsyncPgConnection, RunQueryDsl as _,
    SimpleAsyncConnection as _,
};
use diesel_migrations::MigrationHarness as _;
use outbox::inbox::{self, EventIdentity, Seen};
use outbox::{AppendError, Event, NewEvent, append, drain, statement};
use serde_json::{Value, json};
use uuid::Uuid;

/// The example's own tables. In a real system the shop and the warehouse have a database each.
const TABLES: &str = "create table if not exists orders (id uuid primary key, item text not null, quantity int not null);
    create table if not exists shipments (order_id uuid primary key)";

#[expect(clippy::disallowed_methods, reason = "the example's one setting")]
#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let url = std::env::var("DATABASE_URL").map_err(|_| "set DATABASE_URL to an empty database")?;
    run(&url, &mut std::io::stdout()).await
}

/// Takes two orders, publishes their events, and ships them, although one event arrives twice.
pub(crate) async fn run(
    url: &str,
    out: &mut (impl Write + Send),
) -> Result<(), Box<dyn Error + Send + Sync>> {
    migrate(url).await?;
    let mut conn = AsyncPgConnection::establish(url).await?;
    place_order(&mut conn, "tea", 2).await?;
    place_order(&mut conn, "coffee", 1).await?;

    let published = drain_to(&mut conn, out).await?;
    // The broker delivers at least once: here it delivers the first event twice.
    for event in published.iter().chain(published.iter().take(1)) {
        let verb = match ship(&mut conn, event).await? {
            Seen::First => "shipped",
            Seen::Again => "shipped before",
            Seen::Conflict => "refused: another event has this id",
        };
        writeln!(out, "{verb}: order {}", event.key())?;
    }
    Ok(())
}

/// The write side: the order and its event commit together, or neither does.
async fn place_order(
    conn: &mut AsyncPgConnection,
    item: &str,
    quantity: i32,
) -> Result<Uuid, AppendError> {
    let id = Uuid::now_v7();
    conn.transaction(async |conn| {
        statement("insert into orders (id, item, quantity) values ($1, $2, $3)")
            .bind::<diesel::sql_types::Uuid, _>(id)
            .bind::<Text, _>(item)
            .bind::<Integer, _>(quantity)
            .execute(conn)
            .await?;
        let event = NewEvent {
            id: Uuid::now_v7(),
            aggregate_type: "order",
            aggregate_id: id.to_string(),
            event_type: "OrderPlaced",
            source: "shop",
            traceparent: String::new(),
            tracestate: String::new(),
            payload: json!({ "item": item, "quantity": quantity }),
        };
        append(conn, vec![event]).await
    })
    .await?;
    Ok(id)
}

/// The relay: read, publish, delete. A crash before the delete publishes the events again, with the same ids.
async fn drain_to(
    conn: &mut AsyncPgConnection,
    out: &mut impl Write,
) -> Result<Vec<Event>, Box<dyn Error + Send + Sync>> {
    // See `drain::DELETE`.
    conn.batch_execute("set enable_sort = off").await?;
    let mut published = Vec::new();
    loop {
        let page = drain::next(conn, &[], 100, 1_000_000).await?;
        if page.events.is_empty() {
            return Ok(published);
        }
        for event in &page.events {
            writeln!(
                out,
                "{} <- {} {}",
                event.topic(""),
                event.event_type,
                event.payload
            )?;
        }
        let seqs: Vec<i64> = page.events.iter().map(|event| event.seq).collect();
        drain::delete(conn, &seqs).await?;
        published.extend(page.events);
    }
}

/// The read side: the inbox row and the shipment commit together, so a redelivery finds the row and ships nothing.
async fn ship(
    conn: &mut AsyncPgConnection,
    event: &Event,
) -> Result<Seen, Box<dyn Error + Send + Sync>> {
    let payload: Value = serde_json::from_str(&event.payload)?;
    let order: Uuid = event.key().parse()?;
    let identity = EventIdentity {
        source: &event.source,
        id: event.id,
        fingerprint: fingerprint(&payload),
    };
    let seen = conn
        .transaction(async |conn| -> QueryResult<Seen> {
            let seen = inbox::take(conn, "warehouse", &[identity]).await?;
            let seen = seen.into_iter().next().unwrap_or(Seen::Again);
            if seen == Seen::First {
                statement("insert into shipments (order_id) values ($1)")
                    .bind::<diesel::sql_types::Uuid, _>(order)
                    .execute(conn)
                    .await?;
            }
            Ok(seen)
        })
        .await?;
    Ok(seen)
}

/// A hash of what the event says; the services of this project use SHA-256.
fn fingerprint(payload: &Value) -> [u8; 32] {
    let hash = Uuid::new_v5(&Uuid::NAMESPACE_OID, payload.to_string().as_bytes());
    let mut fingerprint = [0; 32];
    fingerprint[..16].copy_from_slice(hash.as_bytes());
    fingerprint
}

async fn migrate(url: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut conn = AsyncPgConnection::establish(url).await?;
    conn.batch_execute(TABLES).await?;
    tokio::task::spawn_blocking(move || {
        AsyncMigrationHarness::new(conn)
            .run_pending_migrations(outbox::MIGRATIONS)
            .map(drop)
    })
    .await?
}
