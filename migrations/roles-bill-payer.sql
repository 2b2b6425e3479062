-- Who may do what in the bill-payer database. `bill-payer migrate --roles` runs this after the migrations, again each time.
--
-- The roles can't log in: alter role bill_payer login password '...'. They belong to the whole server, so another database
-- of it may have made them already.

do $$
declare
    role text;
begin
    foreach role in array array['bill_payer', 'bill_relay', 'auditor'] loop
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
    execute format('grant connect on database %I to bill_payer, bill_relay, auditor', current_database());
    -- The audit works in tables of its session.
    execute format('grant temporary on database %I to auditor', current_database());
end $$;

-- /readyz compares the schema with the program.
grant select on __diesel_schema_migrations to bill_payer, bill_relay;

-- Settled bills and their attempts are deleted after a time.
grant select, insert, update, delete on bills, bill_attempts to bill_payer;
grant insert on outbox to bill_payer;
-- For the age of the oldest event.
grant select (seq, created_at) on outbox to bill_payer;
grant select, insert, delete on inbox to bill_payer;
grant select, insert, update, delete on dead_letters to bill_payer;
grant select, insert on operator_actions to bill_payer;

grant select, delete on outbox to bill_relay;
grant select, insert, update, delete on parked_events to bill_relay;

grant select on all tables in schema public to auditor;
