-- "What did this wallet pay?", newest first. The id of a payment need not carry its time: in listen-to-yourself it follows
-- from the request. The new index takes the place of the old one, so a payment still writes as many index entries.
-- Payments wait while it is built.
create index payments_of_wallet_by_time on payments (wallet_id, created_at, id);
drop index payments_of_wallet;
