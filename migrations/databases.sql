-- Run by the container of PostgreSQL when its volume is new (docker-compose.yml). Elsewhere the databases are made by `./dev`.
create database wallet;
create database bill_payer;
