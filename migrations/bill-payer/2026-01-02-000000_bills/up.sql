-- Bills: what wallet-api asked to be paid, and the durable queue of the work to do so, in one table.

create table bills (
    payment_id uuid primary key,
    wallet_id uuid not null,
    amount numeric(24, 4) not null,
    currency text not null,
    provider text not null,
    account_number text not null,
    traceparent text not null,
    status text not null default 'paying',
    attempts int not null default 0,
    next_attempt_at timestamptz not null default now(),
    claim uuid,
    receipt text,
    last_error text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint bill_amount_is_positive check (amount > 0),
    constraint bill_status_is_known check (status in ('paying', 'cancelling', 'parked', 'paid', 'failed')),
    constraint bill_attempts_are_counted check (attempts >= 0),
    constraint paid_bill_has_receipt check ((status = 'paid') = (receipt is not null)),
    constraint failed_or_parked_bill_has_reason check (status not in ('failed', 'parked') or last_error is not null),
    constraint claimed_bill_is_open check (claim is null or status in ('paying', 'cancelling'))
);
comment on table bills is
    'One row a payment, inserted when its event arrives; a redelivered event finds it there.';
comment on column bills.status is
    'paying: call the provider. cancelling: attempts are used up, ask the provider to refuse the payment from now on. parked: an operator decides. paid, failed: final.';
comment on column bills.attempts is 'Calls begun in this status, counted before the call so that a crash counts too.';
comment on column bills.next_attempt_at is
    'When an executor may take the bill: the end of the back-off, or of the lease of the executor that has it.';
comment on column bills.claim is
    'The claim of the executor that has the bill, null when nobody has. What is not known of a call is recorded by its claim only; the provider''s final word counts whoever heard it.';
comment on column bills.last_error is 'Why the last call had no final answer; of a failed bill, what the customer reads.';

-- "Which bills are due?"
create index bills_due on bills (next_attempt_at) where status in ('paying', 'cancelling');
-- "What needs an operator?"
create index bills_parked on bills (payment_id) where status = 'parked';

-- A queue inside a table that grows: what a vacuum has to clean is a matter of count, not of share.
alter table bills set (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 50000,
    autovacuum_analyze_scale_factor = 0,
    autovacuum_analyze_threshold = 50000
);

create function finished_bill_never_changes() returns trigger language plpgsql as $$
begin
    raise exception 'a bill that is paid or failed never changes'
        using errcode = 'check_violation', constraint = 'finished_bill_never_changes';
end $$;
create trigger finished_bill_never_changes before update on bills
    for each row when (old.status in ('paid', 'failed')) execute function finished_bill_never_changes();
