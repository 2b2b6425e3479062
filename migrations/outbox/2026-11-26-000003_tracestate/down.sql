alter table outbox drop column tracestate;
