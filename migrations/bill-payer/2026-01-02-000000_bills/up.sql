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
    failing_since timestamptz,
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
comment on column bills.attempts is
    'Calls begun in this status, counted before the call so that a crash counts too. A call that failed in an outage is taken off again.';
comment on column bills.failing_since is
    'When the first call in this status failed: its deadline counts from here. Calls to pay that failed in an outage do not set it.';
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

create function bill_moves_forward_only() returns trigger language plpgsql as $$
begin
    raise exception 'a bill keeps what it is about, and moves from paying to cancelling to parked; back only from parked'
        using errcode = 'check_violation', constraint = 'bill_moves_forward_only';
end $$;
create trigger bill_moves_forward_only before update on bills
    for each row when (
        (new.payment_id, new.wallet_id, new.amount, new.currency, new.provider, new.account_number)
            is distinct from (old.payment_id, old.wallet_id, old.amount, old.currency, old.provider, old.account_number)
        or (old.status = 'paying' and new.status = 'parked')
        or (old.status = 'cancelling' and new.status = 'paying')
    ) execute function bill_moves_forward_only();

create table bill_attempts (
    payment_id uuid not null references bills (payment_id) on delete cascade,
    call text not null,
    attempt int not null,
    times int not null default 1,
    answered_at timestamptz not null default now(),
    took_ms int not null,
    outcome text not null,
    verdict text not null,
    detail text,
    primary key (payment_id, call, attempt),
    constraint attempt_call_is_known check (call in ('pay', 'cancel')),
    constraint attempt_is_counted check (attempt >= 1 and times >= 1),
    constraint attempt_took_no_negative_time check (took_ms >= 0),
    constraint attempt_verdict_is_known check (verdict in ('recorded', 'unspent', 'stale', 'contradiction'))
);
comment on table bill_attempts is
    'Calls of the provider that were answered or given up, written in the transaction that records the answer. A row for each attempt of each kind, so at most PAY_ATTEMPTS_MAX and CANCEL_ATTEMPTS_MAX a bill; deleted with the bill.';
comment on column bill_attempts.attempt is
    'bills.attempts at the time of the call. A number comes again after an unspent attempt and after an operator''s retry: the row then tells of the last call.';
comment on column bill_attempts.times is 'How many calls had this number, as by the probes of an outage.';
comment on column bill_attempts.answered_at is 'When the last of them was recorded.';
comment on column bill_attempts.took_ms is 'From the beginning of the call to its answer, or until it was given up.';
comment on column bill_attempts.outcome is
    'pay: accepted, declined. cancel: cancelled, already_paid. Not known: unreachable, timeout, broken, unavailable, refused, unreadable, stopped.';
comment on column bill_attempts.verdict is
    'recorded: it decided what came next. unspent: it failed in an outage and does not count. stale: it came too late to change anything. contradiction: the bill had ended the other way.';
comment on column bill_attempts.detail is 'The receipt, why it was declined, or why nothing is known.';
