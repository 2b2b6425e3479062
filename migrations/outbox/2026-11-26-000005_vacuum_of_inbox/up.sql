-- By default a vacuum begins when a fifth of the rows is dead: with a billion rows it would take longer than the retention.
alter table inbox set (autovacuum_vacuum_scale_factor = 0.01);
