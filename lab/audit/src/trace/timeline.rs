//! Gathering the steps of a payment, part by part.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::step::Step;
use crate::provider::Provider;
use crate::scope::{Scope, ms_of};
use crate::session::Session;
use crate::sources::{BILL_PAYER_DATABASE, Sources, WALLET_DATABASE};
use crate::topic::{BILL_EVENTS, Client, Topic, WALLET_COMMANDS, WALLET_EVENTS};

/// Unix milliseconds of a column.
macro_rules! ms {
    ($column:literal) => {
        concat!("(extract(epoch from ", $column, ") * 1000)::bigint")
    };
}

/// What the parts tell of a payment.
pub(super) struct Told {
    /// None if the wallet database does not know the payment.
    pub(super) status: Option<String>,
    pub(super) pattern: Option<String>,
    /// None if nobody knows the payment.
    pub(super) steps: Vec<Step>,
    /// The places that should know it and do not, if it waits nowhere: it is lost, or was just on its way from one to the
    /// next.
    pub(super) missing: Vec<Step>,
    /// How long ago it was accepted.
    age: Option<Duration>,
}

impl Told {
    /// Whether a part that should know the payment does not, although there was time for it.
    pub(super) fn is_lost(&self) -> bool {
        !self.missing.is_empty() && self.age.is_some_and(|age| age > Scope::LOST_AFTER)
    }
}

/// Asks each part for the steps of a payment.
pub(super) async fn of(sources: &Sources, id: Uuid) -> anyhow::Result<Told> {
    let wallet = Session::connect(&sources.wallet_database_url, WALLET_DATABASE).await?;
    let bills = Session::connect(&sources.bill_payer_database_url, BILL_PAYER_DATABASE).await?;
    let payment = payment(&wallet, id).await?;
    let period = period(payment.as_ref(), id);
    let find = |topic| messages(sources, topic, id, period);

    let (commands, requests, results) = tokio::try_join!(
        find(WALLET_COMMANDS),
        find(WALLET_EVENTS),
        find(BILL_EVENTS)
    )?;

    let mut steps = Vec::new();
    steps.extend_from_slice(&commands.steps);
    steps.extend(dead_letters(&wallet, sources, WALLET_COMMANDS, &commands, id).await?);
    steps.extend(payment.as_ref().map(accepted));
    steps.extend(transfers(&wallet, id, "kind = 'payment'").await?);
    steps.extend(unpublished(&wallet, "wallet outbox", id).await?);
    steps.extend_from_slice(&requests.steps);
    steps.extend(dead_letters(&bills, sources, WALLET_EVENTS, &requests, id).await?);
    steps.extend(bill(&bills, id).await?);
    steps.extend(attempts(&bills, id).await?);
    steps.extend(at_provider(sources, id).await?);
    steps.extend(unpublished(&bills, "bill-payer outbox", id).await?);
    steps.extend_from_slice(&results.steps);
    steps.extend(dead_letters(&wallet, sources, BILL_EVENTS, &results, id).await?);
    steps.extend(inbox(&wallet, &results).await?);
    steps.extend(transfers(&wallet, id, "kind in ('settlement', 'refund')").await?);
    steps.extend(payment.as_ref().and_then(ended));
    let missing = match &payment {
        Some(payment) if text(payment, "status") == "pending" => missing(&steps),
        Some(_) | None => Vec::new(),
    };
    let word = |name| {
        payment
            .as_ref()
            .map(|payment| text(payment, name).to_owned())
    };
    Ok(Told {
        status: word("status"),
        pattern: word("pattern"),
        steps,
        missing,
        age: payment
            .and_then(|payment| member(&payment, "age_ms").as_u64())
            .map(Duration::from_millis),
    })
}

/// The places that do not know a pending payment; none if it waits somewhere, and so will go on.
fn missing(steps: &[Step]) -> Vec<Step> {
    let at = |place: &'static str| steps.iter().filter(move |step| step.place == place);
    let is_at = |place| at(place).next().is_some();
    let waits_in_kafka = [WALLET_COMMANDS, WALLET_EVENTS, BILL_EVENTS]
        .into_iter()
        .flat_map(|topic| at(topic.name))
        .any(|message| member(&message.detail, "consumed").as_bool() != Some(true));
    let waits = ["wallet outbox", "bill-payer outbox", "dead letters"];
    if waits_in_kafka || waits.into_iter().any(is_at) {
        return Vec::new();
    }
    let bill = at("bill-payer").find_map(|step| member(&step.detail, "status").as_str());
    let missing = |place, what| step(None, place, what, json!({}));
    match bill {
        _ if is_at(BILL_EVENTS.name) => {
            let what = "no settlement and no refund, though wallet-api has read the result";
            vec![missing("ledger", what)]
        }
        Some("paid" | "failed") => {
            let what = "no result, and none waits in the outbox";
            vec![missing(BILL_EVENTS.name, what)]
        }
        // bill-payer is at it.
        Some(_) => Vec::new(),
        None => [
            (WALLET_EVENTS.name, "no event, and none waits in the outbox"),
            ("bill-payer", "no bill: it never heard of the payment"),
            ("provider", "no payment"),
        ]
        .into_iter()
        .filter(|(place, _)| !is_at(place))
        .map(|(place, what)| missing(place, what))
        .collect(),
    }
}

/// How long after its end a payment's messages may still come, in milliseconds: again, after a crash.
const COMES_AGAIN_MS: u64 = 5 * 60 * 1_000;

/// When a payment was on its way, Unix milliseconds.
#[derive(Debug, Clone, Copy)]
struct Period {
    from_ms: u64,
    /// None: it still is.
    ended_ms: Option<u64>,
}

#[derive(Debug, Default)]
struct Messages {
    steps: Vec<Step>,
    event_ids: Vec<Uuid>,
    /// Partition and offset of each.
    positions: Vec<(i32, i64)>,
}

/// Finds the messages of `topic` about the payment.
async fn messages(
    sources: &Sources,
    topic: Topic,
    payment_id: Uuid,
    period: Period,
) -> anyhow::Result<Messages> {
    let sources = sources.clone();
    let find = move || {
        let mut reader = Client::connect(&sources, topic)?.open(Some(period.from_ms))?;
        if let Some(ended_ms) = period.ended_ms {
            reader.until(ended_ms.saturating_add(COMES_AGAIN_MS))?;
        }
        let mut found = Messages::default();
        reader.read(|seen| {
            if seen.payment_id == Some(payment_id) {
                found.steps.push(Step {
                    at: seen.timestamp_ms,
                    place: topic.name,
                    what: format!("{} published", seen.event_type),
                    detail: json!({
                        "partition": seen.partition,
                        "offset": seen.offset,
                        "event_id": seen.event_id,
                        "outbox_seq": seen.outbox_seq,
                        "outbox_epoch": (!seen.outbox_epoch.is_empty()).then_some(seen.outbox_epoch),
                        "consumed": seen.is_consumed,
                    }),
                });
                found.event_ids.extend(seen.event_id);
                found.positions.push((seen.partition, seen.offset));
            }
            true
        })?;
        anyhow::Ok(found)
    };
    tokio::task::spawn_blocking(find)
        .await
        .context("reading a topic")?
}

/// The payment that was accepted last: its id begins with the time.
pub(super) async fn last(sources: &Sources) -> anyhow::Result<Option<Uuid>> {
    let wallet = Session::connect(&sources.wallet_database_url, WALLET_DATABASE).await?;
    let last = "select to_json(id)::text from payments order by id desc limit 1";
    let last = wallet.json(last).await?.pop();
    last.map(serde_json::from_value)
        .transpose()
        .context("reading a payment's id")
}

async fn payment(wallet: &Session, id: Uuid) -> anyhow::Result<Option<Value>> {
    let sql = format!(
        "select (to_jsonb(payments) - 'fingerprint' || jsonb_build_object( \
             'amount', trim_scale(amount)::text, 'pattern', coalesce(pattern, 'outbox'), \
             'created_ms', {}, 'updated_ms', {}, 'age_ms', {}))::text \
         from payments where id = '{id}'",
        ms!("created_at"),
        ms!("updated_at"),
        ms!("clock_timestamp() - created_at")
    );
    Ok(wallet.json(&sql).await?.pop())
}

fn period(payment: Option<&Value>, id: Uuid) -> Period {
    let time = |name| payment.and_then(|payment| member(payment, name).as_u64());
    let is_open = payment.is_none_or(|payment| text(payment, "status") == "pending");
    Period {
        // A command is older than its payment. Its id has the time of the request, or that of the wallet.
        from_ms: ms_of(id).min(time("created_ms").unwrap_or(u64::MAX)),
        ended_ms: time("updated_ms").filter(|_| !is_open),
    }
}

fn accepted(payment: &Value) -> Step {
    let what = if text(payment, "status") == "declined" {
        "declined"
    } else {
        "accepted"
    };
    let names = [
        "wallet_id",
        "amount",
        "currency",
        "provider",
        "account_number",
        "idempotency_key",
        "pattern",
    ];
    let at = member(payment, "created_ms").as_i64();
    step(at, "wallet database", what, part(payment, &names))
}

fn ended(payment: &Value) -> Option<Step> {
    let status = text(payment, "status");
    let at = member(payment, "updated_ms").as_i64();
    let detail = part(payment, &["receipt", "reason"]);
    matches!(status, "paid" | "refunded").then(|| step(at, "wallet database", status, detail))
}

/// With the transaction that wrote each: a transfer never changes, so its row's `xmin` is that of its making.
async fn transfers(wallet: &Session, id: Uuid, of: &str) -> anyhow::Result<Vec<Step>> {
    let sql = format!(
        "select jsonb_build_object('at', {}, 'kind', kind, 'transfer_id', id, 'amount', trim_scale(amount)::text, \
             'debit_account', debit_account, 'credit_account', credit_account, \
             'transaction_id', xmin::text, 'lsn', lsn::text)::text \
         from transfers where payment_id = '{id}' and {of} order by id",
        ms!("created_at")
    );
    Ok(timed(wallet.json(&sql).await?, "ledger", |row| {
        format!("{} posted", text(row, "kind"))
    }))
}

async fn unpublished(
    session: &Session,
    place: &'static str,
    id: Uuid,
) -> anyhow::Result<Vec<Step>> {
    let sql = format!(
        "select jsonb_build_object('at', {}, 'outbox_seq', outbox.seq, 'event_id', outbox.id, 'type', type, \
             'blocked_by', parked_events.seq, 'reason', parked_events.reason)::text \
         from outbox left join parked_events \
             on parked_events.aggregateid = outbox.aggregateid and parked_events.seq <= outbox.seq \
         where payload->>'payment_id' = '{id}' order by outbox.seq",
        ms!("outbox.created_at")
    );
    Ok(timed(session.json(&sql).await?, place, |row| {
        let waits = if member(row, "blocked_by").is_null() {
            "waits"
        } else {
            "is blocked"
        };
        format!("{} {waits}", text(row, "type"))
    }))
}

/// Those of the payment's messages, and any other that speaks of it.
async fn dead_letters(
    session: &Session,
    sources: &Sources,
    topic: Topic,
    messages: &Messages,
    id: Uuid,
) -> anyhow::Result<Vec<Step>> {
    let name = topic.full_name(sources).replace('\'', "''");
    let positions = messages.positions.iter();
    let positions: String = positions
        .map(|(partition, offset)| format!(", ({partition}, {offset})"))
        .collect();
    let sql = format!(
        "select jsonb_build_object('at', {}, 'dead_letter_id', id, 'status', status, 'partition', kafka_partition, \
             'offset', kafka_offset, 'reason', reason)::text \
         from dead_letters where topic = '{name}' \
             and ((kafka_partition, kafka_offset) in (values (-1, -1::bigint){positions}) \
                 or position(convert_to('{id}', 'UTF8') in payload) > 0) order by id",
        ms!("created_at")
    );
    Ok(timed(session.json(&sql).await?, "dead letters", |_| {
        format!("message of {} put aside", topic.name)
    }))
}

/// What the step says by which bill-payer knows a payment.
pub(super) const BILL_TAKEN: &str = "bill taken in";

async fn bill(bills: &Session, id: Uuid) -> anyhow::Result<Vec<Step>> {
    let sql = format!(
        "select jsonb_build_object('at', {}, 'status', status, 'attempts', attempts, 'receipt', receipt, \
             'amount', trim_scale(amount)::text, 'currency', currency, 'provider', provider, 'account_number', account_number, \
             'last_error', last_error, 'traceparent', traceparent)::text \
         from bills where payment_id = '{id}'",
        ms!("created_at")
    );
    Ok(timed(bills.json(&sql).await?, "bill-payer", |_| {
        BILL_TAKEN.to_owned()
    }))
}

async fn attempts(bills: &Session, id: Uuid) -> anyhow::Result<Vec<Step>> {
    let sql = format!(
        "select jsonb_build_object('at', {}, 'call', call, 'attempt', attempt, 'outcome', outcome, \
             'took_ms', took_ms, 'times', times, 'verdict', verdict, 'detail', detail)::text \
         from bill_attempts where payment_id = '{id}' order by answered_at, call desc, attempt",
        ms!("answered_at")
    );
    Ok(timed(bills.json(&sql).await?, "bill-payer", |row| {
        let (call, outcome) = (text(row, "call"), text(row, "outcome"));
        format!("call to {call}: {outcome}")
    }))
}

async fn at_provider(sources: &Sources, id: Uuid) -> anyhow::Result<Option<Step>> {
    let Some(payment) = Provider::new(sources)?.payment::<Value>(id).await? else {
        return Ok(None);
    };
    let names = [
        "receipt",
        "amount",
        "currency",
        "provider",
        "account_number",
        "calls",
    ];
    let detail = part(&payment, &names);
    let status = text(&payment, "status");
    Ok(Some(step(None, "provider", status, detail)))
}

async fn inbox(wallet: &Session, results: &Messages) -> anyhow::Result<Vec<Step>> {
    let ids: Vec<String> = results.event_ids.iter().map(Uuid::to_string).collect();
    let sql = format!(
        "select jsonb_build_object('at', {}, 'event_id', event_id, 'consumer', consumer)::text \
         from inbox where event_id = any('{{{}}}'::uuid[]) order by seen_at",
        ms!("seen_at"),
        ids.join(",")
    );
    Ok(timed(wallet.json(&sql).await?, "wallet inbox", |_| {
        "result taken".to_owned()
    }))
}

/// Rows with a time in `at` as steps.
fn timed(rows: Vec<Value>, place: &'static str, what: impl Fn(&Value) -> String) -> Vec<Step> {
    let steps = rows.into_iter().map(|mut row| {
        let what = what(&row);
        let at = row.as_object_mut().and_then(|row| row.remove("at"));
        step(at.and_then(|at| at.as_i64()), place, &what, row)
    });
    steps.collect()
}

fn step(at: Option<i64>, place: &'static str, what: &str, detail: Value) -> Step {
    Step {
        at,
        place,
        what: what.to_owned(),
        detail,
    }
}

fn member<'a>(row: &'a Value, name: &str) -> &'a Value {
    row.get(name).unwrap_or(&Value::Null)
}

fn text<'a>(row: &'a Value, name: &str) -> &'a str {
    member(row, name).as_str().unwrap_or_default()
}

/// Some members of an object, those that are not null.
fn part(whole: &Value, names: &[&str]) -> Value {
    let members = names.iter().map(|name| (*name, member(whole, name)));
    let members: Map<String, Value> = members
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.to_owned(), value.clone()))
        .collect();
    json!(members)
}
