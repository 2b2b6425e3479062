-- By which pattern a payment was written, so that whoever finds it lost can say why. Null is the outbox: the default
-- pattern binds and stores nothing for it. A payment that was restored from Kafka's events has null, too.

alter table payments
    add column pattern text,
    add constraint payment_pattern_is_known
        check (pattern in ('dual-write', 'listen-to-yourself', 'publish-first'));
comment on column payments.pattern is
    'The pattern that wrote the payment, where it is not the outbox.';
