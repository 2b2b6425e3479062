-- "What was asked to be paid?", newest first. A payment's id need not carry its time.
create index bills_by_time on bills (created_at, payment_id);
