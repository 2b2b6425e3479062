//! The wallet database: payments with their transfers, what is unpublished, and the ledger as a whole, all of one
//! moment.

use super::scope::Scope;
use super::session::Session;

/// The tables that everything is gathered in.
const TABLES: &str = "\
    create temp table audited ( \
        id uuid, wallet_id uuid, status text, amount numeric, currency text, provider text, account_number text, \
        receipt text, reason text, idempotency_key text, created_at timestamptz, updated_at timestamptz, \
        debits bigint, debited numeric, debited_from uuid, \
        settlements bigint, settled numeric, refunds bigint, refunded numeric, refunded_to uuid); \
    create temp table unpublished ( \
        payment_id uuid, parked bool, key text, type text, wallet_id text, amount text, currency text, provider text, \
        account_number text, receipt text, reason text); \
    create temp table unpublished_result (like unpublished); \
    create temp table event ( \
        topic smallint, partition int, position bigint, key text, event_id uuid, outbox_seq bigint, outbox_epoch text, \
        payment_id uuid, is_taken bool, is_whole bool, type text, wallet_id text, amount text, currency text, \
        provider text, account_number text, receipt text, reason text, idempotency_key text); \
    create temp table bill ( \
        payment_id uuid, status text, wallet_id uuid, amount numeric, currency text, provider text, \
        account_number text, receipt text, last_error text); \
    create temp table letter ( \
        topic smallint, partition int, position bigint, payment_id uuid, is_discarded bool); \
    create temp table at_provider ( \
        reference text, payment_id uuid, status text, amount text, currency text, provider text, account_number text, \
        receipt text); \
    create temp table found (kind text, id text)";

/// The time, Unix milliseconds by the database's clock: that of the transaction, if in one.
const NOW_MS: &str = "select (extract(epoch from now()) * 1000)::bigint";

/// Makes the tables; returns the time.
pub(super) async fn prepare(session: &Session) -> anyhow::Result<i64> {
    session.run(TABLES).await?;
    session.one(NOW_MS).await
}

/// Copies the payments of `scope`, and sums up the ledger; returns the moment of it, as [`prepare`] does.
pub(super) async fn gather(session: &Session, scope: &Scope) -> anyhow::Result<i64> {
    session.begin_snapshot().await?;
    let now_ms = session.one(NOW_MS).await?;
    session.run(&payments(scope)).await?;
    session
        .run(&format!("insert into unpublished {UNPUBLISHED}"))
        .await?;
    session.run(LEDGER).await?;
    session.commit().await?;
    session
        .run("create index on audited (id); analyze audited")
        .await?;
    Ok(now_ms)
}

fn payments(scope: &Scope) -> String {
    let first = scope.first_id();
    // A half of the transfers for each of the two indexes by payment.
    format!(
        "insert into audited \
         select id, wallet_id, status, amount, currency, provider, account_number, receipt, reason, idempotency_key, \
             created_at, updated_at, coalesce(debits, 0), coalesce(debited, 0), debited_from, \
             coalesce(settlements, 0), coalesce(settled, 0), coalesce(refunds, 0), coalesce(refunded, 0), refunded_to \
         from payments \
         left join ( \
             select payment_id, count(*) as debits, sum(amount) as debited, \
                 min(debit_account::text)::uuid as debited_from \
             from transfers where kind = 'payment' and payment_id >= '{first}' group by payment_id \
         ) as out on out.payment_id = payments.id \
         left join ( \
             select payment_id, count(*) filter (where kind = 'settlement') as settlements, \
                 sum(amount) filter (where kind = 'settlement') as settled, \
                 count(*) filter (where kind = 'refund') as refunds, \
                 sum(amount) filter (where kind = 'refund') as refunded, \
                 (min(credit_account::text) filter (where kind = 'refund'))::uuid as refunded_to \
             from transfers where kind in ('settlement', 'refund') and payment_id >= '{first}' group by payment_id \
         ) as on_from_clearing on on_from_clearing.payment_id = payments.id \
         where id >= '{first}'"
    )
}

/// Selects what waits in an outbox, of either database, by payment; no row of it is trusted to be well formed.
pub(super) const UNPUBLISHED: &str = "\
    select (payload->>'payment_id')::uuid, parked_events.seq is not null, outbox.aggregateid, type, \
        payload->>'wallet_id', payload->>'amount', payload->>'currency', payload->>'provider', \
        payload->>'account_number', payload->>'receipt', payload->>'reason' \
    from outbox left join parked_events \
        on parked_events.aggregateid = outbox.aggregateid and parked_events.seq <= outbox.seq \
    where payload->>'payment_id' ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$'";

/// What is wrong with the ledger as a whole, whatever the scope.
///
/// Money in clearing is that of the payments which were debited and have not ended, to the penny, as one transaction
/// writes each change of both.
const LEDGER: &str = "\
    create temp table account_sum as \
        select account, sum(amount) as amount from ( \
            select debit_account as account, -amount as amount from transfers \
            union all select credit_account, amount from transfers) as moved \
        group by account; \
    insert into found \
        select 'balance_differs', wallets.id::text \
        from wallets left join account_sum on account = wallets.id \
        where balance <> coalesce(amount, 0); \
    insert into found \
        select 'unbalanced', coalesce(transfers.payment_id, transfers.id)::text \
        from transfers \
        left join accounts as debit on debit.id = debit_account \
        left join accounts as credit on credit.id = credit_account \
        where (transfers.kind, debit.kind, credit.kind) not in ( \
                ('top_up', 'funding', 'wallet'), ('payment', 'wallet', 'clearing'), \
                ('settlement', 'clearing', 'provider'), ('refund', 'clearing', 'wallet')) \
            or debit.currency <> credit.currency or debit.id is null or credit.id is null; \
    insert into found \
        select 'unbalanced', 'clearing ' || accounts.currency \
        from accounts left join account_sum on account = accounts.id \
        left join ( \
            select payments.currency, sum(transfers.amount) as amount \
            from payments join transfers on payment_id = payments.id and transfers.kind = 'payment' \
            where status = 'pending' group by payments.currency \
        ) as pending on pending.currency = accounts.currency \
        where accounts.kind = 'clearing' \
            and coalesce(account_sum.amount, 0) <> coalesce(pending.amount, 0)";
