-- A request to make a wallet that is repeated under its key finds the wallet that the first one made.

create table wallet_keys (
    idempotency_key text not null,
    fingerprint bytea not null,
    wallet_id uuid not null,
    constraint wallet_key_is_used_once primary key (idempotency_key),
    -- The key is written first, so that a second request with it waits for the first one to end.
    constraint wallet_of_a_key_exists foreign key (wallet_id) references wallets (id) deferrable initially deferred
);
comment on table wallet_keys is
    'The keys of requests that made a wallet, so that a repeated one gets the same answer. One space of keys for all callers: nobody is authenticated here.';
comment on column wallet_keys.fingerprint is
    'SHA-256 of the request: the same key with another request is refused.';
