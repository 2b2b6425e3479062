alter table bills drop column tracestate;
