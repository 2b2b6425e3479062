-- Who may do what in the wallet database. `wallet-api migrate --roles` runs this after the migrations, again each time.
--
-- The roles can't log in: alter role wallet_api login password '...'. They belong to the whole server, so another database
-- of it may have made them already.

do $$
declare
    role text;
begin
    foreach role in array array['wallet_api', 'wallet_relay', 'auditor'] loop
        if not exists (select from pg_roles where rolname = role) then
            begin
                execute format('create role %I', role);
            exception when duplicate_object or unique_violation then
                -- The other database's migration made it just now.
                null;
            end;
        end if;
    end loop;
    -- Nobody else's services come in here.
    execute format('revoke all on database %I from public', current_database());
    execute format('grant connect on database %I to wallet_api, wallet_relay, auditor', current_database());
    -- The audit works in tables of its session.
    execute format('grant temporary on database %I to auditor', current_database());
end $$;

-- /readyz compares the schema with the program.
grant select on __diesel_schema_migrations to wallet_api, wallet_relay;

-- Money is added to the ledger and never changed in it; a wallet keeps its currency and its owner.
grant select, insert on accounts, wallets, payments, transfers, top_ups, wallet_keys to wallet_api;
grant update (balance, version, updated_at) on wallets to wallet_api;
grant update (status, receipt, reason, updated_at) on payments to wallet_api;
grant insert on outbox to wallet_api;
-- For the age of the oldest event.
grant select (seq, created_at) on outbox to wallet_api;
grant select, insert, delete on inbox to wallet_api;
grant select, insert, update, delete on dead_letters to wallet_api;
grant select, insert on operator_actions to wallet_api;

grant select, delete on outbox to wallet_relay;
grant select, insert, update, delete on parked_events to wallet_relay;

grant select on all tables in schema public to auditor;
