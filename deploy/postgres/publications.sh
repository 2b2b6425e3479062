#!/bin/bash
# Makes the publication of the relay modes cdc and debezium. The owners of the tables do it, so that the relays own nothing.
set -eu

case $RELAY_MODE in
    cdc) publication=outbox_relay ;;
    debezium) publication=outbox_debezium ;;
    *) exit 0 ;;
esac
for database in wallet bill_payer; do
    export PGDATABASE=$database PGUSER=${database}_owner
    # Not PGPASSFILE: psql ignores a file that others may read.
    PGPASSWORD=$(cut -d: -f5 "/secrets/$PGUSER/pgpass" 2>/dev/null) || PGPASSWORD=$PGUSER
    export PGPASSWORD
    psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --set=publication="$publication" <<'SQL'
select format('create publication %I for table outbox with (publish = ''insert'')', :'publication')
where not exists (select from pg_publication where pubname = :'publication') \gexec
SQL
done
