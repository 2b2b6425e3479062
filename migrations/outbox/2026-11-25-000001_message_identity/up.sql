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

-- Dead letters and operator actions have migrations of their own, in the crate `operations`: an application that takes
-- only the outbox has no use for them. Tables with rows stay, and `operations` takes them over.
lock table dead_letters, operator_actions in access exclusive mode;
do $$
begin
    if not exists (select from dead_letters) and not exists (select from operator_actions) then
        drop table dead_letters, operator_actions;
        drop function operator_actions_are_append_only;
    end if;
end $$;
