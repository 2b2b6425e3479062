//! The wallets of the benchmark, and whether money was lost or made: a run that lost or made money is void.

use anyhow::Context as _;
use diesel_async::SimpleAsyncConnection as _;

use crate::database::{self, Session};

/// What was put into each wallet, in major units. A payment takes 1.
const TOP_UP: i64 = 100_000_000;

/// Earlier payments of each wallet: without any, PostgreSQL would plan for empty tables, and keep
/// those plans while they fill.
const PAYMENTS_BEFORE: i64 = 5;

/// The id of the wallet with this number, from 1. The script of pgbench makes the same.
pub(super) fn wallet_id(number: u64) -> String {
    format!("00000000-0000-7000-8000-{number:012}")
}

/// Makes `wallets` wallets in INR, with money that came by top-ups, and with some payments that were paid.
/// The accounts of the system are there.
pub(super) async fn open_wallets(url: &str, wallets: u32) -> anyhow::Result<()> {
    let mut conn = database::connect(url).await?;
    let balance = TOP_UP - PAYMENTS_BEFORE;
    conn.batch_execute(&format!(
        "begin; \
         create temp table numbered on commit drop as \
             select ('00000000-0000-7000-8000-' || lpad(number::text, 12, '0'))::uuid as wallet \
             from generate_series(1, {wallets}) as number; \
         create temp table system on commit drop as \
             select kind, id from accounts where currency = 'INR' and kind <> 'wallet'; \
         insert into accounts (id, kind, currency) select wallet, 'wallet', 'INR' from numbered; \
         insert into wallets (id, currency, balance, version) \
             select wallet, 'INR', {balance}, 1 from numbered; \
         insert into transfers (id, kind, debit_account, credit_account, amount) \
             select gen_random_uuid(), 'top_up', system.id, wallet, {TOP_UP} \
             from numbered join system on kind = 'funding'; \
         insert into payments (id, wallet_id, amount, currency, provider, account_number, status, \
                 idempotency_key, fingerprint, receipt) \
             select gen_random_uuid(), wallet, 1, 'INR', 'wifi', 'WIFI-42', 'paid', 'before-' || nth, \
                 sha256('WIFI-42'), 'before' \
             from numbered, generate_series(1, {PAYMENTS_BEFORE}) as nth; \
         insert into transfers (id, kind, debit_account, credit_account, amount, payment_id) \
             select gen_random_uuid(), 'payment', wallet_id, system.id, 1, payments.id \
             from payments join system on kind = 'clearing'; \
         insert into transfers (id, kind, debit_account, credit_account, amount, payment_id) \
             select gen_random_uuid(), 'settlement', clearing.id, provider.id, 1, payments.id \
             from payments join system as clearing on clearing.kind = 'clearing' \
             join system as provider on provider.kind = 'provider'; \
         commit"
    ))
    .await
    .context("making wallets")?;
    // Alone: it runs in no transaction.
    conn.batch_execute("vacuum analyze").await?;
    Ok(())
}

pub(super) async fn clearing_account(url: &str) -> anyhow::Result<String> {
    let mut conn = database::connect(url).await?;
    let clearing =
        "select id::text as text from accounts where kind = 'clearing' and currency = 'INR'";
    database::text(&mut conn, clearing).await
}

/// Checks that there are `payments` payments of 1, each with its transfer and its event, and that the
/// balances are what the transfers made them.
pub(super) async fn check(url: &str, payments: u64) -> anyhow::Result<()> {
    let mut conn = database::connect(url).await?;
    let payments = i64::try_from(payments)?;
    let counts = [
        (
            "payments",
            "select count(*) as number from payments where status = 'pending'".to_owned(),
        ),
        (
            "payments with a transfer and an event",
            "select count(*) as number from payments \
             join transfers on payment_id = payments.id and kind = 'payment' \
                 and debit_account = wallet_id and transfers.amount = 1 \
             join outbox on payload ->> 'payment_id' = payments.id::text \
                 and aggregateid = wallet_id::text"
                .to_owned(),
        ),
        ("events", "select count(*) as number from outbox".to_owned()),
        (
            "money spent",
            format!(
                "select sum({TOP_UP} - {PAYMENTS_BEFORE} - balance)::bigint as number from wallets \
                 where balance > 0"
            ),
        ),
    ];
    for (what, sql) in counts {
        expect(&mut conn, what, &sql, payments).await?;
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
