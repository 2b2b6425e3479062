-- The write side (outbox) and the read side (inbox, dead letters) of the pattern.
-- Applied to every database that publishes or consumes events.

create table outbox (
    seq bigint generated always as identity primary key,
    id uuid not null,
    aggregatetype text not null,
    aggregateid text not null,
    type text not null,
    source text not null,
    specversion text not null default '1.0',
    contenttype text not null default 'application/json',
    traceparent text not null,
    payload jsonb not null,
    created_at timestamptz not null default now(),
    shard smallint not null generated always as ((hashtextextended(aggregateid, 0) & 63)::smallint) stored,
    constraint event_fits_a_kafka_message check (pg_column_size(payload) <= 524288),
    constraint key_fits_an_index check (octet_length(aggregateid) <= 1024)
);
comment on table outbox is
    'A row present is an event not yet known to be published. Append-only for the services; the relay deletes.';
comment on column outbox.seq is
    'Commit order within one aggregate, because its row is locked before the event is appended. Never a cursor: a smaller seq can commit later.';
comment on column outbox.id is 'Event id, the ce_id header: the same on every redelivery.';
comment on column outbox.aggregatetype is 'Topic is <aggregatetype>.events.';
comment on column outbox.aggregateid is 'Message key: what events are ordered by.';
comment on column outbox.shard is 'Virtual shard of the key, 0 to 63: the unit in which relays divide the work.';

-- "Which events of my shard are next?"
create index outbox_next_of_shard on outbox (shard, seq);

-- A queue: rows live for milliseconds, so what a vacuum has to clean is a matter of count, not of share.
alter table outbox set (
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 20000,
    autovacuum_vacuum_insert_scale_factor = 0,
    autovacuum_vacuum_insert_threshold = 100000,
    autovacuum_vacuum_cost_delay = 0
);

create table parked_events (
    aggregateid text not null,
    seq bigint not null,
    reason text not null,
    tries int not null default 1,
    parked_at timestamptz not null default now(),
    replay_requested_at timestamptz,
    constraint one_event_of_a_key_is_parked primary key (aggregateid),
    constraint parked_event_was_tried check (tries >= 1)
);
comment on table parked_events is
    'Events that Kafka refuses for good. The event stays in outbox, and so do those of its key behind it; the relay leaves them alone until a replay is requested.';
comment on column parked_events.aggregateid is 'The key that is held up. Other keys go on.';
comment on column parked_events.seq is
    'The event, the first of its key, in outbox. No foreign key: each delete from outbox would pay for it. Once that row is gone, published or given up, the relay deletes this one.';
comment on column parked_events.reason is 'What Kafka said the last time.';
comment on column parked_events.tries is 'How often it was refused: once, and once more for each replay.';
comment on column parked_events.parked_at is 'When it was refused first.';
comment on column parked_events.replay_requested_at is
    'When an operator requested a replay; null: leave the key alone.';

create table inbox (
    consumer text not null,
    event_id uuid not null,
    seen_at timestamptz not null default now(),
    primary key (consumer, event_id)
);
comment on table inbox is
    'Events a consumer has taken, written in the transaction of their effect: a redelivery finds its row and does nothing.';

create table dead_letters (
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
    constraint message_is_dead_lettered_once unique (consumer, topic, kafka_partition, kafka_offset),
    constraint dead_letter_status_is_known check (status in ('open', 'taken', 'discarded')),
    constraint dead_letter_that_is_not_open_has_ended check ((status = 'open') = (ended_at is null)),
    constraint dead_letter_retries_are_counted check (retries >= 0)
);
comment on table dead_letters is
    'Messages that no retry by itself can help, with their bytes and where they came from. The partition goes on without them.';
comment on column dead_letters.headers is 'An array of [name, value]; the event id is among them, so that a retry keeps it.';
comment on column dead_letters.reason is 'Why it was not taken the last time.';
comment on column dead_letters.status is
    'open: an operator decides. taken: a retry took it, as the consumer would have. discarded: given up, with a note. An ended one stays until its retention is over, so that a redelivery finds it.';
comment on column dead_letters.retries is 'How often an operator had it tried again.';
comment on column dead_letters.ended_at is 'When it was taken or discarded; null while it is open.';
-- "What needs an operator?", newest first.
create index dead_letters_open on dead_letters (id) where status = 'open';
-- "Which are to be deleted?"
create index dead_letters_ended on dead_letters (ended_at) where ended_at is not null;

create table operator_actions (
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
comment on column operator_actions.action is 'What: retry or discard.';
comment on column operator_actions.subject is 'To what: dead_letter/<id> or bill/<payment id>.';
comment on column operator_actions.note is 'Why, in the operator''s words; a discard needs one.';

create function operator_actions_are_append_only() returns trigger language plpgsql as $$
begin
    raise exception 'operator actions are append-only' using errcode = 'restrict_violation';
end $$;
create trigger operator_actions_are_append_only before update or delete or truncate on operator_actions
    for each statement execute function operator_actions_are_append_only();
