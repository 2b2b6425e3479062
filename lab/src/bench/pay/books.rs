//! The wallets of the benchmark, and the books behind it: a run that lost or made money is void.

use anyhow::Context as _;
use diesel_async::SimpleAsyncConnection as _;

use crate::bench::database::{self, Session};

/// What is in each wallet at first, in major units. A payment takes 1.
const BALANCE: i64 = 100_000_000;

/// The id of the wallet with this number, from 1. The script of pgbench makes the same.
pub(super) fn wallet_id(number: u64) -> String {
    format!("00000000-0000-7000-8000-{number:012}")
}

/// Makes `wallets` wallets in INR, with money that came by top-ups. The accounts of the system are there.
///
/// # Errors
/// Whatever the database says.
pub(super) async fn open_wallets(url: &str, wallets: u32) -> anyhow::Result<()> {
    let mut conn = database::connect(url).await?;
    // What `wallet_id` does.
    let numbered = format!(
        "select ('00000000-0000-7000-8000-' || lpad(number::text, 12, '0'))::uuid as id \
         from generate_series(1, {wallets}) as number"
    );
    conn.batch_execute(&format!(
        "begin; \
         insert into accounts (id, kind, currency) select id, 'wallet', 'INR' from ({numbered}) as numbered; \
         insert into wallets (id, currency, balance, version) \
             select id, 'INR', {BALANCE}, 1 from ({numbered}) as numbered; \
         insert into transfers (id, kind, debit_account, credit_account, amount) \
             select gen_random_uuid(), 'top_up', funding.id, numbered.id, {BALANCE} \
             from ({numbered}) as numbered, accounts as funding \
             where funding.kind = 'funding' and funding.currency = 'INR'; \
         commit"
    ))
    .await
    .context("making wallets")?;
    // Alone: it runs in no transaction.
    conn.batch_execute("vacuum analyze").await?;
    Ok(())
}

/// The account that payments go to.
///
/// # Errors
/// Whatever the database says.
pub(super) async fn clearing_account(url: &str) -> anyhow::Result<String> {
    let mut conn = database::connect(url).await?;
    let clearing =
        "select id::text as text from accounts where kind = 'clearing' and currency = 'INR'";
    database::text(&mut conn, clearing).await
}

/// Checks that there are `payments` payments of 1, each with its transfer and its event, and that the
/// balances are what the transfers made them.
///
/// # Errors
/// It is not so.
pub(super) async fn check(url: &str, payments: u64) -> anyhow::Result<()> {
    let mut conn = database::connect(url).await?;
    let payments = i64::try_from(payments)?;
    let counts = [
        ("payments", "select count(*) as number from payments"),
        (
            "payments with a transfer and an event",
            "select count(*) as number from payments \
             join transfers on payment_id = payments.id and kind = 'payment' \
                 and debit_account = wallet_id and transfers.amount = 1 \
             join outbox on payload ->> 'payment_id' = payments.id::text \
                 and aggregateid = wallet_id::text",
        ),
        ("events", "select count(*) as number from outbox"),
        (
            "money spent",
            "select (sum(amount) - (select sum(balance) from wallets))::bigint as number \
             from transfers where kind = 'top_up'",
        ),
    ];
    for (what, sql) in counts {
        expect(&mut conn, what, sql, payments).await?;
    }
    let wrong = "select count(*) as number from wallets \
         left join (select debit_account, sum(amount) as spent from transfers \
             where kind = 'payment' group by debit_account) as spending on debit_account = wallets.id \
         left join (select credit_account, sum(amount) as got from transfers \
             where kind = 'top_up' group by credit_account) as topping_up on credit_account = wallets.id \
         where balance <> coalesce(got, 0) - coalesce(spent, 0)";
    expect(&mut conn, "wallets that differ from their ledger", wrong, 0).await
}

async fn expect(conn: &mut Session, what: &str, sql: &str, expected: i64) -> anyhow::Result<()> {
    let found = database::number(conn, sql).await.context(what.to_owned())?;
    anyhow::ensure!(
        found == expected,
        "the measurement is void: {found} {what} and not {expected}"
    );
    Ok(())
}
