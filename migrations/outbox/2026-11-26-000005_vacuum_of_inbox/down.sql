alter table inbox reset (autovacuum_vacuum_scale_factor);
