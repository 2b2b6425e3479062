create index payments_of_wallet on payments (wallet_id, id);
drop index payments_of_wallet_by_time;
