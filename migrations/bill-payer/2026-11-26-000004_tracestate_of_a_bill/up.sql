-- What tracing systems add to a trace context reaches the provider. Programs of the version before go on writing.
alter table bills add column tracestate text not null default '';
comment on column bills.tracestate is 'W3C tracestate that came with traceparent; mostly empty.';
