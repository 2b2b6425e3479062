-- Who answers "accepted" before the wallet was asked has to keep the wallet's no: as a payment that was declined.

alter table payments
    alter column idempotency_key drop not null,
    drop constraint payment_status_is_known,
    drop constraint refunded_payment_has_reason,
    add constraint payment_status_is_known check (status in ('pending', 'paid', 'refunded', 'declined')),
    add constraint refunded_or_declined_payment_has_reason
        check ((status in ('refunded', 'declined')) = (reason is not null)),
    add constraint declined_payment_holds_no_key check ((status = 'declined') = (idempotency_key is null));
comment on column payments.status is
    'pending, then paid or refunded, for good. declined from the start and for good: no money has moved.';
comment on column payments.idempotency_key is
    'Null for a declined payment: the key is free for another request. No partial index over status does that, because each change of status would then write the indexes.';

-- That a declined payment has no transfers is not held here: a look at the payment of each transfer would be paid for by
-- every payment there is. The code inserts transfers only for payments that it accepts or that were pending.

create or replace function payment_moves_forward_only() returns trigger language plpgsql as $$
begin
    if old.status <> 'pending' or new.status = 'declined'
        or (new.id, new.wallet_id, new.amount, new.currency) is distinct from (old.id, old.wallet_id, old.amount, old.currency)
    then
        raise exception 'a payment only moves from pending to paid or refunded'
            using errcode = 'check_violation', constraint = 'payment_moves_forward_only';
    end if;
    return new;
end $$;
