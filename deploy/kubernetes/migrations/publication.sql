-- Run by the owner of the table, so that the relay needs to own nothing. Not a Publication of CloudNativePG: that one is
-- altered every now and then, and the relay takes an altered publication for one that has left events out.
\set ON_ERROR_STOP on
select 'create publication outbox_relay for table outbox with (publish = ''insert'')'
where not exists (select from pg_publication where pubname = 'outbox_relay') \gexec
