//! The wallets of the benchmark, and whether money was lost or made: a run that lost or made money is void.

use anyhow::Context as _;
use diesel_async::SimpleAsyncConnection as _;

use crate::database::{self, Session};

/// What was put into each wallet, in major units. A payment takes 1.
const TOP_UP: i64 = 100_000_000;

/// Earlier payments of a wallet, where nothing else is wanted: without any, PostgreSQL would plan for empty tables, and
/// keep those plans while they fill.
pub(crate) const PAYMENTS_EACH: u32 = 5;

/// What the idempotency keys of those begin with.
const BEFORE: &str = "before-";

/// Drops what only makes inserts slow, and keeps how it is made: an index is built faster at the end.
const DROP_INDEXES: &str = "
create temp table dropped on commit drop as
    select format('drop index %s', indexrelid::regclass) as drop, pg_get_indexdef(indexrelid) as make
    from pg_index left join pg_constraint on conindid = indexrelid and conrelid = indrelid
    where indrelid in ('payments'::regclass, 'transfers'::regclass) and conindid is null
    union all
    select format('alter table %s drop constraint %I', conrelid::regclass, conname),
        format('alter table %s add constraint %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
    from pg_constraint
    where conrelid in ('payments'::regclass, 'transfers'::regclass) and contype = 'u';
do $$
declare
    statement text;
begin
    for statement in select drop from dropped loop
        execute statement;
    end loop;
end $$;";

const MAKE_INDEXES: &str = "
do $$
declare
    statement text;
begin
    for statement in select make from dropped loop
        execute statement;
    end loop;
end $$;";

/// Makes `wallets` wallets in INR, with money that came by top-ups, and with `payments` payments that were paid, by turns and
/// in the order of time, as their ids are. The accounts of the system are there.
pub(crate) async fn open_wallets(url: &str, wallets: u32, payments: u32) -> anyhow::Result<()> {
    let mut conn = database::connect(url).await?;
    conn.batch_execute(&format!(
        "begin; \
         set local session_replication_role = replica; \
         set local maintenance_work_mem = '256MB'; \
         {DROP_INDEXES} \
         create temp table numbered on commit drop as \
             select number, ('00000000-0000-7000-8000-' || lpad(number::text, 12, '0'))::uuid as wallet \
             from generate_series(1, {wallets}) as number; \
         insert into accounts (id, kind, currency) select wallet, 'wallet', 'INR' from numbered; \
         insert into wallets (id, currency, balance, version) \
             select wallet, 'INR', {TOP_UP} - {payments} / {wallets} - (number <= {payments} % {wallets})::int, 1 \
             from numbered; \
         insert into transfers (id, kind, debit_account, credit_account, amount) \
             select gen_random_uuid(), 'top_up', funding.id, wallet, {TOP_UP} \
             from numbered join accounts as funding on funding.kind = 'funding' and funding.currency = 'INR'; \
         insert into payments (id, wallet_id, amount, currency, provider, account_number, status, \
                 idempotency_key, fingerprint, receipt, created_at, updated_at) \
             select (lpad(to_hex((extract(epoch from paid_at) * 1000)::bigint), 12, '0') || '7' || substr(hash, 1, 3) \
                     || '8' || substr(hash, 4, 15))::uuid, \
                 ('00000000-0000-7000-8000-' || lpad((nth % {wallets} + 1)::text, 12, '0'))::uuid, \
                 1, 'INR', 'wifi', 'WIFI-42', 'paid', '{BEFORE}' || nth, sha256('WIFI-42'), 'before', paid_at, paid_at \
             from generate_series(0, {payments} - 1) as nth, \
                 lateral (select now() - ({payments} - nth) * interval '10 milliseconds' as paid_at, md5(nth::text) as hash) as made; \
         insert into transfers (id, kind, debit_account, credit_account, amount, payment_id, created_at) \
             select overlay(payments.id::text placing digit from 20 for 1)::uuid, leg, debit, credit, 1, payments.id, \
                 payments.created_at \
             from payments, accounts as clearing, accounts as provider, \
                 lateral (values ('payment', '9', wallet_id, clearing.id), \
                     ('settlement', 'a', clearing.id, provider.id)) as leg (leg, digit, debit, credit) \
             where (clearing.kind, clearing.currency) = ('clearing', 'INR') \
                 and (provider.kind, provider.currency) = ('provider', 'INR'); \
         {MAKE_INDEXES} \
         commit"
    ))
    .await
    .context("making wallets")?;
    // Alone: it runs in no transaction.
    conn.batch_execute("vacuum analyze").await?;
    Ok(())
}

pub(crate) async fn clearing_account(url: &str) -> anyhow::Result<String> {
    let mut conn = database::connect(url).await?;
    let clearing =
        "select id::text as text from accounts where kind = 'clearing' and currency = 'INR'";
    database::text(&mut conn, clearing).await
}

/// Checks that there are `payments` payments of 1 more than [`open_wallets`] has made, each with its transfer, and that the
/// balances are what the transfers made them.
pub(crate) async fn check(url: &str, payments: u64) -> anyhow::Result<()> {
    let mut conn = database::connect(url).await?;
    let payments = i64::try_from(payments)?;
    let new = format!("idempotency_key not like '{BEFORE}%'");
    for (what, sql) in [
        (
            "payments",
            format!("select count(*) as number from payments where {new}"),
        ),
        (
            "payments with a transfer",
            format!(
                "select count(*) as number from payments \
                 join transfers on payment_id = payments.id and kind = 'payment' \
                     and debit_account = wallet_id and transfers.amount = 1 \
                 where {new}"
            ),
        ),
        (
            "money spent",
            format!(
                "select (select sum({TOP_UP} - balance)::bigint from wallets where balance > 0) \
                     - (select count(*) from payments where not {new}) as number"
            ),
        ),
    ] {
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

/// Checks that the outbox has the events of `payments` payments, and no others.
pub(crate) async fn check_events(url: &str, payments: u64) -> anyhow::Result<()> {
    let mut conn = database::connect(url).await?;
    let payments = i64::try_from(payments)?;
    let with_event = "select count(*) as number from outbox \
         join payments on payments.id = (payload ->> 'payment_id')::uuid and wallet_id::text = aggregateid";
    expect(&mut conn, "payments with an event", with_event, payments).await?;
    let events = "select count(*) as number from outbox";
    expect(&mut conn, "events", events, payments).await
}

async fn expect(conn: &mut Session, what: &str, sql: &str, expected: i64) -> anyhow::Result<()> {
    let found = database::number(conn, sql).await.context(what.to_owned())?;
    anyhow::ensure!(
        found == expected,
        "the measurement is void: {found} {what} and not {expected}"
    );
    Ok(())
}
