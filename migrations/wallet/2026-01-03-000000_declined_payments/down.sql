delete from payments where status = 'declined';
alter table payments
    drop constraint declined_payment_holds_no_key,
    drop constraint refunded_or_declined_payment_has_reason,
    drop constraint payment_status_is_known,
    add constraint payment_status_is_known check (status in ('pending', 'paid', 'refunded')),
    add constraint refunded_payment_has_reason check ((status = 'refunded') = (reason is not null)),
    alter column idempotency_key set not null;
comment on column payments.status is null;
comment on column payments.idempotency_key is null;
create or replace function payment_moves_forward_only() returns trigger language plpgsql as $$
begin
    if old.status <> 'pending'
        or (new.id, new.wallet_id, new.amount, new.currency) is distinct from (old.id, old.wallet_id, old.amount, old.currency)
    then
        raise exception 'a payment only moves from pending to paid or refunded'
            using errcode = 'check_violation', constraint = 'payment_moves_forward_only';
    end if;
    return new;
end $$;
