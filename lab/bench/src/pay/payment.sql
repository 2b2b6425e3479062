\set number random(1, :wallets)
begin;
select id as wallet_id, currency from wallets where id = ('00000000-0000-7000-8000-' || lpad(:number, 12, '0'))::uuid for no key update \gset
insert into payments (id, wallet_id, amount, currency, provider, account_number, idempotency_key, fingerprint) values (gen_random_uuid(), :wallet_id, 1.00, :currency, 'wifi', 'WIFI-42', gen_random_uuid()::text, sha256('WIFI-42')) returning id as payment_id \gset
insert into transfers (id, kind, debit_account, credit_account, amount, payment_id) values (gen_random_uuid(), 'payment', :wallet_id, :clearing, 1.00, :payment_id);
update wallets set balance = balance - 1.00, version = version + 1, updated_at = now() where id = :wallet_id;
insert into outbox (id, aggregatetype, aggregateid, type, source, traceparent, payload) values (gen_random_uuid(), 'wallet', :wallet_id, 'BillPaymentRequested', 'wallet-api', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', jsonb_build_object('payment_id', :payment_id::text, 'wallet_id', :wallet_id::text, 'amount', '1.00', 'currency', :currency::text, 'provider', 'wifi', 'account_number', 'WIFI-42'));
commit;
