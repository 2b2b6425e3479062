-- What tracing systems add to a trace context travels with it. Programs of the version before go on writing.
alter table outbox add column tracestate text not null default '';
comment on column outbox.tracestate is 'W3C tracestate that came with traceparent; mostly empty.';
