-- What operators work with: messages that could not be taken, and what was done about them.
-- Applied to every database that consumes events, after the outbox's migrations.
--
-- A database that had dead letters before these migrations has the tables already, from the first migration of the
-- outbox: "if not exists" leaves the rows where they are.

create table if not exists dead_letters (
    id bigint generated always as identity primary key,
    consumer text not null,
    topic text not null,
    kafka_partition int not null,
    kafka_offset bigint not null,
    key bytea,
    headers jsonb not null,
    payload bytea,
    reason text not null,
    created_at timestamptz not null default now(),
    status text not null default 'open',
    retries int not null default 0,
    ended_at timestamptz,
    digest bytea not null default '',
    constraint dead_letter_status_is_known check (status in ('open', 'taken', 'discarded')),
    constraint dead_letter_that_is_not_open_has_ended check ((status = 'open') = (ended_at is null)),
    constraint dead_letter_retries_are_counted check (retries >= 0)
);
alter table dead_letters
    add column if not exists digest bytea not null default '',
    drop constraint if exists message_is_dead_lettered_once,
    add constraint message_is_dead_lettered_once unique (consumer, topic, kafka_partition, kafka_offset, digest);
comment on table dead_letters is
    'Messages that no retry by itself can help, with their bytes and where they came from. The partition goes on without them.';
comment on column dead_letters.headers is 'An array of [name, value]; the event id is among them, so that a retry keeps it.';
comment on column dead_letters.reason is 'Why it was not taken the last time.';
comment on column dead_letters.status is
    'open: an operator decides. taken: a retry took it, as the consumer would have. discarded: given up, with a note. An ended one stays until its retention is over, so that a redelivery finds it.';
comment on column dead_letters.retries is 'How often an operator had it tried again.';
comment on column dead_letters.ended_at is 'When it was taken or discarded; null while it is open.';
comment on column dead_letters.digest is
    'SHA-256 of the message and its time: a topic that was deleted and created again has the same offsets with other messages. Empty in rows that are older than this column.';
-- "What needs an operator?", newest first.
create index if not exists dead_letters_open on dead_letters (id) where status = 'open';
-- "Which are to be deleted?"
create index if not exists dead_letters_ended on dead_letters (ended_at) where ended_at is not null;

create table if not exists operator_actions (
    id bigint generated always as identity primary key,
    at timestamptz not null default now(),
    operator text not null,
    action text not null,
    subject text not null,
    note text,
    constraint operator_is_named check (operator <> ''),
    constraint discarding_has_a_note check (action <> 'discard' or coalesce(note, '') <> '')
);
comment on table operator_actions is
    'Append-only: what operators did to dead letters and parked bills, written in the transaction that did it. Never deleted.';
comment on column operator_actions.operator is 'Who, as the caller says: nobody is authenticated here.';
comment on column operator_actions.action is 'What: retry or discard; of payments redrive or recover.';
comment on column operator_actions.subject is 'To what: dead_letter/<id>, bill/<payment id> or payment/<id>.';
comment on column operator_actions.note is 'Why, in the operator''s words; a discard needs one.';

create or replace function operator_actions_are_append_only() returns trigger language plpgsql as $$
begin
    raise exception 'operator actions are append-only' using errcode = 'restrict_violation';
end $$;
create or replace trigger operator_actions_are_append_only before update or delete or truncate on operator_actions
    for each statement execute function operator_actions_are_append_only();
