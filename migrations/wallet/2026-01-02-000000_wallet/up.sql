-- Wallets, their double-entry ledger and their payments.

create table accounts (
    id uuid primary key,
    kind text not null,
    currency text not null,
    created_at timestamptz not null default now(),
    constraint account_kind_is_known check (kind in ('wallet', 'funding', 'clearing', 'provider')),
    constraint currency_is_a_code check (currency ~ '^[A-Z]{3}$')
);
comment on table accounts is
    'Both ends of every transfer: one account a wallet, and for each currency one for funding, clearing and the provider.';
create unique index one_system_account_a_kind_and_currency on accounts (kind, currency) where kind <> 'wallet';

create table wallets (
    id uuid primary key references accounts (id),
    currency text not null,
    balance numeric(24, 4) not null default 0,
    version bigint not null default 0,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint wallet_is_never_negative check (balance >= 0)
) with (fillfactor = 80);
comment on column wallets.balance is
    'A cache of the ledger, changed in the transaction that writes the transfers. Major units.';
comment on column wallets.version is 'Counts the transactions that changed the balance.';

create table payments (
    id uuid primary key,
    wallet_id uuid not null references wallets (id),
    amount numeric(24, 4) not null,
    currency text not null,
    provider text not null,
    account_number text not null,
    status text not null default 'pending',
    idempotency_key text not null,
    fingerprint bytea not null,
    receipt text,
    reason text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint payment_key_is_used_once unique (wallet_id, idempotency_key),
    constraint payment_amount_is_positive check (amount > 0),
    constraint payment_status_is_known check (status in ('pending', 'paid', 'refunded')),
    constraint paid_payment_has_receipt check ((status = 'paid') = (receipt is not null)),
    constraint refunded_payment_has_reason check ((status = 'refunded') = (reason is not null))
) with (fillfactor = 90);
comment on column payments.fingerprint is
    'SHA-256 of the request: the same key with another request is refused.';
-- "What did this wallet pay?", newest first.
create index payments_of_wallet on payments (wallet_id, id);

create table transfers (
    id uuid primary key,
    kind text not null,
    debit_account uuid not null,
    credit_account uuid not null,
    amount numeric(24, 4) not null,
    payment_id uuid references payments (id),
    created_at timestamptz not null default now(),
    lsn pg_lsn not null default pg_current_wal_insert_lsn(),
    constraint transfer_amount_is_positive check (amount > 0),
    constraint transfer_has_two_accounts check (debit_account <> credit_account),
    constraint transfer_kind_is_known check (kind in ('top_up', 'payment', 'settlement', 'refund')),
    constraint transfer_of_a_payment_names_it check ((kind = 'top_up') = (payment_id is null))
);
comment on table transfers is
    'Append-only double entry. top_up: funding to wallet. payment: wallet to clearing. settlement: clearing to provider. refund: clearing to wallet.';
comment on column transfers.lsn is
    'Where the log stood when the row was inserted: its transaction lies around there. For people who trace a payment; nothing depends on it.';
create unique index payment_is_debited_once on transfers (payment_id) where kind = 'payment';
create unique index payment_is_settled_or_refunded_once on transfers (payment_id)
    where kind in ('settlement', 'refund');
-- "What moved on this wallet?", newest first: a wallet is debited by payments and credited by the rest.
create index transfers_out_of_wallet on transfers (debit_account, id) where kind = 'payment';
create index transfers_into_wallet on transfers (credit_account, id) where kind in ('top_up', 'refund');

create table top_ups (
    id uuid primary key references transfers (id),
    wallet_id uuid not null references wallets (id),
    idempotency_key text not null,
    fingerprint bytea not null,
    balance_after numeric(24, 4) not null,
    constraint top_up_key_is_used_once unique (wallet_id, idempotency_key)
);
comment on table top_ups is 'The answers given to top-up requests, so that a repeated one gets the same.';

-- The ledger's rules, held by the database whatever the code does.

create function transfers_are_append_only() returns trigger language plpgsql as $$
begin
    raise exception 'transfers are append-only' using errcode = 'restrict_violation';
end $$;
create trigger transfers_are_append_only before update or delete or truncate on transfers
    for each statement execute function transfers_are_append_only();

-- A statement at a time, and without foreign keys: those would make every payment lock the one clearing account.
create function transfer_accounts_share_a_currency() returns trigger language plpgsql as $$
begin
    if exists (
        select from posted
        left join accounts debit on debit.id = posted.debit_account
        left join accounts credit on credit.id = posted.credit_account
        where debit.currency is null or credit.currency is null or debit.currency <> credit.currency
    ) then
        raise exception 'a transfer needs two known accounts of one currency'
            using errcode = 'check_violation', constraint = 'transfer_accounts_share_a_currency';
    end if;
    return null;
end $$;
create trigger transfer_accounts_share_a_currency after insert on transfers
    referencing new table as posted for each statement execute function transfer_accounts_share_a_currency();

-- Nor do they come to have two currencies afterwards. The wallets' trigger is for updates that name the column: a
-- payment's does not, and does not pay for it.
create function accounts_never_change() returns trigger language plpgsql as $$
begin
    raise exception 'accounts never change' using errcode = 'restrict_violation';
end $$;
create trigger accounts_never_change before update or delete or truncate on accounts
    for each statement execute function accounts_never_change();

create function wallet_keeps_its_currency() returns trigger language plpgsql as $$
begin
    raise exception 'a wallet keeps its currency' using errcode = 'restrict_violation';
end $$;
create trigger wallet_keeps_its_currency before update of currency on wallets
    for each statement execute function wallet_keeps_its_currency();

create function payment_moves_forward_only() returns trigger language plpgsql as $$
begin
    if old.status <> 'pending'
        or (new.id, new.wallet_id, new.amount, new.currency) is distinct from (old.id, old.wallet_id, old.amount, old.currency)
    then
        raise exception 'a payment only moves from pending to paid or refunded'
            using errcode = 'check_violation', constraint = 'payment_moves_forward_only';
    end if;
    return new;
end $$;
create trigger payment_moves_forward_only before update on payments
    for each row execute function payment_moves_forward_only();
