//! What is there of one payment: rows, records and receipt, read from where they are.

use chassis::Problem;
use chassis::database::Pool;
use diesel::sql_types::{Jsonb, Nullable, Text};
use diesel_async::RunQueryDsl as _;
use futures_util::try_join;
use lab_stack::http;
use serde::Serialize;
use serde_json::Value;

use crate::lab::Lab;
use crate::messages;
use crate::problems::away;

/// Records of a topic that are looked through, of each partition the last ones.
const RECORDS_MAX: usize = 200;

/// Each an object or null, and lists of such. Amounts are texts at the scale of INR, in which slow motion pays.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Facts {
    pub(super) payment_id: Option<String>,
    #[serde(flatten)]
    pub(super) wallet: WalletRows,
    /// Records of the topics that are about this wallet.
    pub(super) commands: Vec<Value>,
    pub(super) events: Vec<Value>,
    pub(super) results: Vec<Value>,
    #[serde(flatten)]
    pub(super) bill: BillRows,
    /// The provider's payment.
    pub(super) receipt: Option<Value>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct WalletRows {
    pub(super) wallet: Value,
    pub(super) payment: Value,
    pub(super) outbox: Value,
    pub(super) dead_letters: Value,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct BillRows {
    pub(super) bill: Value,
    pub(super) bill_outbox: Value,
}

impl Facts {
    /// Reads all of it.
    pub(super) async fn read(lab: &Lab, wallet_id: &str) -> Result<Self, Problem> {
        let (wallet, commands, events, results) = try_join!(
            WalletRows::read(lab, wallet_id),
            records(lab, "wallet.commands", wallet_id),
            records(lab, "wallet.events", wallet_id),
            records(lab, "bill.events", wallet_id),
        )?;
        // The wallet is this payment's alone. Where its row is missing, Kafka may know it.
        let known = wallet.payment.get("payment_id");
        let published = events.iter().chain(&commands);
        let payment_id = known
            .or_else(|| {
                published
                    .filter_map(|record| record.get("payment_id"))
                    .next()
            })
            .and_then(Value::as_str)
            .map(str::to_owned);
        let (bill, receipt) = match &payment_id {
            Some(id) => try_join!(BillRows::read(lab, id), receipt(lab, id))?,
            None => (BillRows::none(), None),
        };
        Ok(Self {
            payment_id,
            wallet,
            commands,
            events,
            results,
            bill,
            receipt,
        })
    }
}

impl WalletRows {
    pub(super) async fn read(lab: &Lab, wallet_id: &str) -> Result<Self, Problem> {
        const ROWS: &str = "select jsonb_build_object( \
             'wallet', (select to_jsonb(it) from (select id, round(balance, 2)::text as balance, currency \
                 from wallets where id = $1::uuid) it), \
             'payment', (select to_jsonb(it) from (select id as payment_id, round(amount, 2)::text as amount, \
                 currency, status, receipt from payments where wallet_id = $1::uuid order by id limit 1) it), \
             'outbox', (select coalesce(jsonb_agg(to_jsonb(it)), '[]') from (select seq, id, type \
                 from outbox where aggregateid = $1 order by seq) it), \
             'dead_letters', (select coalesce(jsonb_agg(to_jsonb(it)), '[]') from (select id, status, topic, reason \
                 from dead_letters where encode(key, 'escape') = $1 order by id) it)) as content";
        let rows = read(&lab.databases().await?.wallet, ROWS, wallet_id).await?;
        let of = |name: &str| rows.get(name).cloned().unwrap_or(Value::Null);
        Ok(Self {
            wallet: of("wallet"),
            payment: of("payment"),
            outbox: of("outbox"),
            dead_letters: of("dead_letters"),
        })
    }

    /// None while there is no payment.
    pub(super) fn status(&self) -> Option<&str> {
        self.payment.get("status").and_then(Value::as_str)
    }

    /// The payment has ended, or the wallet has put aside what somebody says of it.
    pub(super) fn have_ended(&self) -> bool {
        self.status().is_some_and(|status| status != "pending") || !is_empty(&self.dead_letters)
    }
}

impl BillRows {
    /// Nobody can have asked for a payment without an id.
    fn none() -> Self {
        Self {
            bill: Value::Null,
            bill_outbox: Value::Array(Vec::new()),
        }
    }

    pub(super) async fn read(lab: &Lab, payment_id: &str) -> Result<Self, Problem> {
        const ROWS: &str = "select jsonb_build_object( \
             'bill', (select to_jsonb(it) from (select payment_id, round(amount, 2)::text as amount, currency, \
                 status, attempts, receipt from bills where payment_id = $1::uuid) it), \
             'bill_outbox', (select coalesce(jsonb_agg(to_jsonb(it)), '[]') from (select seq, id, type \
                 from outbox where payload->>'payment_id' = $1 order by seq) it)) as content";
        let rows = read(&lab.databases().await?.bills, ROWS, payment_id).await?;
        let of = |name: &str| rows.get(name).cloned().unwrap_or(Value::Null);
        Ok(Self {
            bill: of("bill"),
            bill_outbox: of("bill_outbox"),
        })
    }
}

pub(super) fn is_empty(rows: &Value) -> bool {
    rows.as_array().is_none_or(Vec::is_empty)
}

#[derive(diesel::QueryableByName)]
struct Content {
    #[diesel(sql_type = Nullable<Jsonb>)]
    content: Option<Value>,
}

async fn read(pool: &Pool, rows: &str, id: &str) -> Result<Value, Problem> {
    let mut conn = pool.get().await?;
    let read: Content = diesel::sql_query(rows)
        .bind::<Text, _>(id)
        .get_result(&mut conn)
        .await?;
    Ok(read.content.unwrap_or_default())
}

/// The records of a topic that are about a wallet, oldest first.
pub(super) async fn records(
    lab: &Lab,
    topic: &str,
    wallet_id: &str,
) -> Result<Vec<Value>, Problem> {
    let stack = lab.stack().await?;
    let topic = format!("{}{topic}", stack.topic_prefix);
    let key = wallet_id.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        let from_the_end = messages::Cursor::new();
        messages::page(
            &stack.kafka_brokers,
            &topic,
            &from_the_end,
            &key,
            RECORDS_MAX,
        )
    });
    let read = read.await.map_err(|error| Problem::internal(&error))?;
    let (mut records, _) = read.map_err(|error| away(&error))?;
    records.reverse();
    Ok(records)
}

/// The provider's payment of that id.
pub(super) async fn receipt(lab: &Lab, payment_id: &str) -> Result<Option<Value>, Problem> {
    let provider = lab.stack().await?.mock_provider;
    let ask = async || -> anyhow::Result<Option<Value>> {
        let url = format!("{provider}/payments/{payment_id}");
        let answer = http::client().get(url).send().await?;
        Ok(if answer.status().is_success() {
            Some(answer.json().await?)
        } else {
            None
        })
    };
    ask().await.map_err(|error| away(&error))
}
