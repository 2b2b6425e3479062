#!/bin/bash
# Makes the databases, and a role that may log in for each owner and service. The container of PostgreSQL runs this when its
# volume is new. It may be run again, and then sets the passwords: docker compose exec postgres bash
# /docker-entrypoint-initdb.d/roles.sh
#
# A password is in /secrets/passwords (deploy/secure); without that folder it is the name of its role.
set -eu

superuser() {
    psql --username=postgres --no-psqlrc --quiet --set=ON_ERROR_STOP=1 "$@"
}

for role in wallet_owner wallet_api wallet_relay bill_payer_owner bill_payer bill_relay auditor; do
    PASSWORD=$role
    [ ! -d /secrets/passwords ] || PASSWORD=$(cat "/secrets/passwords/$role")
    export PASSWORD
    options=login
    # For the relay modes cdc and debezium.
    [[ $role != *_relay ]] || options='login replication'
    superuser --set=role="$role" --set=options="$options" <<'SQL'
\getenv password PASSWORD
select format('create role %I', :'role') where not exists (select from pg_roles where rolname = :'role') \gexec
alter role :"role" :options password :'password';
SQL
done

for database in wallet bill_payer; do
    superuser --set=database="$database" <<'SQL'
select format('create database %I owner %I', :'database', :'database' || '_owner')
where not exists (select from pg_database where datname = :'database') \gexec
SQL
done
