drop table dead_letters;
drop table inbox;
drop table parked_events;
drop table outbox;
