-- What makes two messages the same is what they say, not only the number that they carry.
-- The defaults stay: programs of the version before go on writing while this one is rolled out.

alter table inbox
    add column source text not null default '',
    add column fingerprint bytea,
    drop constraint inbox_pkey,
    add primary key (consumer, source, event_id);
comment on column inbox.source is
    'Who published the event: its identity is source and id, as CloudEvents says. Empty in rows of programs that are older than this column.';
comment on column inbox.fingerprint is
    'SHA-256 of what the event says: the same identity with another fingerprint is another message, and becomes a dead letter. Null in rows of programs that are older than this column.';

alter table dead_letters
    add column digest bytea not null default '',
    drop constraint message_is_dead_lettered_once,
    add constraint message_is_dead_lettered_once unique (consumer, topic, kafka_partition, kafka_offset, digest);
comment on column dead_letters.digest is
    'SHA-256 of the message and its time: a topic that was deleted and created again has the same offsets with other messages. Empty in rows of programs that are older than this column.';

comment on column operator_actions.action is 'What: retry or discard; of payments redrive or recover.';
comment on column operator_actions.subject is 'To what: dead_letter/<id>, bill/<payment id> or payment/<id>.';
