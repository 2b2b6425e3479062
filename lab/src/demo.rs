//! One payment, shown step by step, and what to try next, with the real addresses and ids.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use lab_stack::http;
use lab_stack::stack::Stack;
use lab_terminal as terminal;
use lab_terminal::human;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

/// How long the payment may take before the demo gives up watching it.
const WATCH_FOR: Duration = Duration::from_secs(30);

const AMOUNT: &str = "100.00";

#[derive(Debug, Deserialize)]
struct Wallet {
    id: Uuid,
    currency: String,
    balance: String,
}

#[derive(Debug, Deserialize)]
struct Payment {
    id: Uuid,
    status: String,
    receipt: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ProviderPayment {
    status: String,
    receipt: Option<String>,
}

/// Pays one bill and prints how it went, then what to try. A system that does not pay, because it was told to
/// fail, is still a running system: then this says what it saw.
pub(crate) async fn run(stack: &Stack) {
    terminal::line("\nOne Wi-Fi bill, paid from a wallet:");
    let wallet = match pay(stack).await {
        Ok(wallet) => wallet.to_string(),
        Err(error) => {
            terminal::error(&error.context("the demo payment"));
            "<wallet id>".to_owned()
        }
    };
    terminal::line(what_to_try(stack, &wallet));
}

/// Makes a wallet, pays a bill from it, and watches the payment to its end.
async fn pay(stack: &Stack) -> anyhow::Result<Uuid> {
    let Stack {
        wallet_api,
        mock_provider,
        ..
    } = stack;
    // A wallet.
    let new = json!({ "currency": "INR", "opening_balance": "1000.00" });
    let wallet: Wallet = post(&format!("{wallet_api}/wallets"), &new).await?;
    terminal::part(
        "wallet",
        format_args!("{} with {} {}", wallet.id, wallet.currency, wallet.balance),
    );

    // The payment is accepted.
    let started_at = Instant::now();
    let bill = json!({ "amount": AMOUNT, "account_number": "WIFI-1" });
    let payment: Payment = post(
        &format!("{wallet_api}/wallets/{}/pay-bill", wallet.id),
        &bill,
    )
    .await?;
    let id = payment.id;
    step(
        "wallet-api",
        started_at,
        format_args!("took {AMOUNT} for the payment {id}: {}", payment.status),
    );

    // The provider has it.
    let at_provider = format!("{mock_provider}/payments/{id}");
    let received: ProviderPayment = watch(&at_provider, |received: &ProviderPayment| {
        received.status != "cancelled"
    })
    .await?;
    let receipt = received.receipt.as_deref().unwrap_or("none");
    step(
        "mock-provider",
        started_at,
        format_args!("{}, receipt {receipt}", received.status),
    );

    // The wallet knows the result.
    let at_wallet = format!("{wallet_api}/payments/{id}");
    let payment: Payment =
        watch(&at_wallet, |payment: &Payment| payment.status != "pending").await?;
    let receipt = payment.receipt.as_deref().unwrap_or("none");
    let wallet: Wallet = get(&format!("{wallet_api}/wallets/{}", wallet.id)).await?;
    step(
        "wallet-api",
        started_at,
        format_args!(
            "{}, receipt {receipt}; balance {} {}",
            payment.status, wallet.currency, wallet.balance
        ),
    );
    Ok(wallet.id)
}

fn step(who: &str, since: Instant, what: std::fmt::Arguments<'_>) {
    terminal::part(who, format_args!("{what}  ({})", human(since.elapsed())));
}

async fn post<T: for<'de> Deserialize<'de>>(
    url: &str,
    body: &serde_json::Value,
) -> anyhow::Result<T> {
    read_json(url, http::client().post(url).json(body)).await
}

async fn get<T: for<'de> Deserialize<'de>>(url: &str) -> anyhow::Result<T> {
    read_json(url, http::client().get(url)).await
}

async fn read_json<T: for<'de> Deserialize<'de>>(
    url: &str,
    request: reqwest::RequestBuilder,
) -> anyhow::Result<T> {
    let answer = request.send().await?;
    let status = answer.status();
    let text = answer.text().await?;
    anyhow::ensure!(status.is_success(), "{url} answered {status}: {text}");
    serde_json::from_str(&text).with_context(|| format!("{url} answered {text}"))
}

async fn watch<T: for<'de> Deserialize<'de>>(
    url: &str,
    is_wanted: impl Fn(&T) -> bool,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + WATCH_FOR;
    loop {
        let seen = get(url).await;
        match seen {
            Ok(answer) if is_wanted(&answer) => return Ok(answer),
            Ok(_) if Instant::now() < deadline => {}
            Err(_) if Instant::now() < deadline => {}
            Ok(_) => anyhow::bail!("{url} has not changed within {WATCH_FOR:?}"),
            Err(error) => return Err(error.context(format!("nothing within {WATCH_FOR:?}"))),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn what_to_try(stack: &Stack, wallet: &str) -> String {
    let Stack {
        wallet_api,
        bill_payer,
        mock_provider,
        lab,
        wallet_database_url,
        ..
    } = stack;
    format!(
        "
Try:
  # pay again; the same key and body again would take nothing more
  curl -si {wallet_api}/wallets/{wallet}/pay-bill -H 'content-type: application/json' -H 'idempotency-key: my-bill-1' -d '{{\"amount\": \"100.00\", \"account_number\": \"WIFI-1\"}}'
  # the wallet's balance, its payments, its transfers
  curl -s {wallet_api}/wallets/{wallet}
  curl -s {wallet_api}/wallets/{wallet}/payments
  curl -s {wallet_api}/wallets/{wallet}/transfers
  # a wallet of your own
  curl -s {wallet_api}/wallets -H 'content-type: application/json' -d '{{\"currency\": \"INR\", \"opening_balance\": \"500.00\"}}'
  # what the bill payer did and what the provider received
  curl -s '{bill_payer}/bills?limit=5'
  curl -s '{mock_provider}/payments?limit=5'
  # events that are not published yet: none, when all is well
  psql '{wallet_database_url}' -c 'select seq, type, aggregateid, created_at from outbox'
  # all parts; and open {lab} in a browser
  curl -s {lab}/status"
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_lines_to_try_carry_the_real_addresses_and_ids() {
        let stack = Stack {
            wallet_api: "http://w".to_owned(),
            wallet_api_admin: "http://w-admin".to_owned(),
            bill_payer: "http://b".to_owned(),
            mock_provider: "http://p".to_owned(),
            lab: "http://l".to_owned(),
            relays: Vec::new(),
            wallet_database_url: "postgres://d/wallet".to_owned(),
            bill_payer_database_url: String::new(),
            kafka_brokers: String::new(),
            topic_prefix: String::new(),
            connect_url: None,
            relay_mode: lab_stack::relay_mode::RelayMode::Poller,
            pids: BTreeMap::new(),
        };
        insta::assert_snapshot!(what_to_try(&stack, "0198"));
    }
}
