-- Whose wallet it is, for callers that may use one owner's wallets only. Null: made by a caller that may use everybody's.

alter table wallets
    add column owner text,
    add constraint wallet_owner_has_a_name check (owner <> '');
comment on column wallets.owner is
    'The owner that the maker''s token named; null where it named nobody.';

create index wallets_of_owner on wallets (owner, id) where owner is not null;
