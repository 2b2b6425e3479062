delete from inbox as later using inbox as first
where first.consumer = later.consumer and first.event_id = later.event_id and first.source < later.source;
alter table inbox
    drop constraint inbox_pkey,
    drop column source,
    drop column fingerprint,
    add primary key (consumer, event_id);

-- What the first migration drops has to be there.
create table if not exists dead_letters ();
create table if not exists operator_actions ();
create or replace function operator_actions_are_append_only() returns trigger language plpgsql as
    $$ begin raise exception 'operator actions are append-only' using errcode = 'restrict_violation'; end $$;
