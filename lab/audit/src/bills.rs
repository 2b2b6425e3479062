//! bill-payer's database: bills, results that are unpublished, and dead letters, all of one moment; and the dead
//! letters of either database.

use anyhow::Context as _;

use super::scope::Scope;
use super::session::{Rows, Session};
use super::sources::{BILL_PAYER_DATABASE, Sources};
use super::topic::{BILL_EVENTS, Topic, WALLET_COMMANDS, WALLET_EVENTS, payment_of};
use super::wallet::UNPUBLISHED;

/// Copies them to the session `into`; returns how many bills.
pub(super) async fn gather(
    into: &Session,
    sources: &Sources,
    scope: &Scope,
) -> anyhow::Result<u64> {
    let from = Session::connect(&sources.bill_payer_database_url, BILL_PAYER_DATABASE).await?;
    from.begin_snapshot().await?;
    let (first, since_ms) = (scope.first_id(), scope.since_ms().unwrap_or(0));
    // An id of another version has no time.
    let bills = format!(
        "select payment_id, status, wallet_id, amount, currency, provider, account_number, receipt, last_error \
         from bills where payment_id >= '{first}' \
             and (substr(payment_id::text, 15, 1) in ('7', '8') \
                 or extract(epoch from created_at) * 1000 >= {since_ms})"
    );
    let count = into.copy_from(&from, &bills, "bill").await?;
    into.copy_from(&from, UNPUBLISHED, "unpublished_result")
        .await?;
    dead_letters(into, &from, sources, WALLET_EVENTS).await?;
    from.commit().await?;
    Ok(count)
}

/// Copies the dead letters of wallet-api, which are in the database of `session`.
pub(super) async fn dead_letters_of_wallet(
    session: &Session,
    sources: &Sources,
) -> anyhow::Result<()> {
    dead_letters(session, session, sources, WALLET_COMMANDS).await?;
    dead_letters(session, session, sources, BILL_EVENTS).await
}

/// Dead letters are few. What they are about is read as bytes, as they need not be text; where they lay in Kafka finds
/// the others.
async fn dead_letters(
    into: &Session,
    from: &Session,
    sources: &Sources,
    topic: Topic,
) -> anyhow::Result<()> {
    let name = topic.full_name(sources).replace('\'', "''");
    let mut after = 0;
    loop {
        let letters = format!(
            "select jsonb_build_object('id', id, 'partition', kafka_partition, 'offset', kafka_offset, \
                 'is_discarded', status = 'discarded', \
                 'payload', encode(substring(payload from 1 for 65536), 'hex'))::text \
             from dead_letters where topic = '{name}' and status <> 'taken' and id > {after} \
             order by id limit 500"
        );
        let letters = from.json(&letters).await?;
        let mut rows = Rows::default();
        for letter in &letters {
            let number = |name| letter.get(name).and_then(serde_json::Value::as_i64);
            after = number("id").context("a dead letter has an id")?;
            let is_discarded = letter.get("is_discarded") == Some(&serde_json::Value::Bool(true));
            let payload = letter.get("payload").and_then(|payload| payload.as_str());
            let payment = payment_of(&bytes(payload.unwrap_or_default())).map(|id| id.to_string());
            let partition = number("partition").unwrap_or_default().to_string();
            let offset = number("offset").unwrap_or_default().to_string();
            rows.add([
                Some(topic.number),
                Some(&partition),
                Some(&offset),
                payment.as_deref(),
                Some(if is_discarded { "t" } else { "f" }),
            ]);
        }
        into.copy("letter", rows).await?;
        if letters.len() < 500 {
            return Ok(());
        }
    }
}

/// Bytes out of hex digits.
fn bytes(hex: &str) -> Vec<u8> {
    let digit = |letter: u8| char::from(letter).to_digit(16);
    let pairs = hex.as_bytes().chunks_exact(2);
    pairs
        .filter_map(|pair| match pair {
            [high, low] => u8::try_from(digit(*high)? * 16 + digit(*low)?).ok(),
            _ => None,
        })
        .collect()
}
