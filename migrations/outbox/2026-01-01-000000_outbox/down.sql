drop table operator_actions;
drop function operator_actions_are_append_only;
drop table dead_letters;
drop table inbox;
drop table parked_events;
drop table outbox;
