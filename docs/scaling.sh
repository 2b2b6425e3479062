#!/usr/bin/env bash
# Prints the figures of docs/scaling.md, on the system that `./dev up --detach` has started:
#
#   docs/scaling.sh payments [COUNT [RATE]]   what a payment takes (rows, bytes, log, CPU), and what it takes to delete it
#   docs/scaling.sh sizes                     two weeks at 10 to 10,000 payments a second, from what `payments` printed
#   docs/scaling.sh inbox [ROWS_A_DAY]        14 days of inbox as one table and as a partition a day, in a database `scratch`
#   docs/scaling.sh wallets [COUNT]           the log of payments of many wallets, in a database `scratch`
set -euo pipefail
self=$(readlink -f "${BASH_SOURCE[0]}")
cd "$(dirname "$self")/.."

lab=${LAB_DIR:-.dev}
last=${TMPDIR:-/tmp}/scaling
server=

sql() { psql -qAt -F ' ' -v ON_ERROR_STOP=1 "$server/$1" "${@:2}"; }

# measured DATABASE LABEL ROWS SQL: the time and the log of a statement.
measured() {
    sql "$1" <<END
select clock_timestamp() as t, pg_current_wal_insert_lsn() as lsn \gset
$4;
select format('%-44s %8s s %9s kB of log, %5s bytes a row', '$2', round(extract(epoch from clock_timestamp() - :'t'), 2),
    round((pg_current_wal_insert_lsn() - :'lsn') / 1000), round((pg_current_wal_insert_lsn() - :'lsn') / $3));
END
}

# traffic COUNT RATE: sends payments from 1,000 wallets, and waits until all are paid.
traffic() {
    local token known
    token=$(jq -r .token "$lab/processes.json")
    known=$(sql wallet -c 'select count(*) from payments')
    curl -sf -o "$last.run" localhost:8090/api/traffic -H "x-lab-token: $token" -H 'content-type: application/json' -d '{"pattern": "outbox",
        "requests": '"$1"', "rate_per_s": '"$2"', "wallets": 1000, "crash_share": 0, "provider_fault_share": 0, "seed": 1}'
    until [ "$(sql wallet -c "select count(*) >= $known + $1 and bool_and(status = 'paid') from payments")" = t ]; do sleep 1; done
    # PostgreSQL counts what its sessions did some seconds later.
    sleep 15
}

# A line for each thing that a payment changes: a name and numbers that only grow.
state() {
    local database topic name pid
    for database in wallet bill_payer; do
        sql "$database" -c "select format('table:%s.%s', current_database(), relname), n_tup_ins, n_tup_upd, n_tup_upd - n_tup_hot_upd, n_tup_del,
            pg_table_size(relid), pg_indexes_size(relid) from pg_stat_user_tables order by 1"
    done
    for topic in wallet.events bill.events; do
        echo "kafka_bytes:$topic $(cat "$lab"/kafka/data/"$topic"-*/*.log | wc -c)"
    done
    # Of PostgreSQL with its sessions, also the ended ones.
    jq -r '.pids | to_entries[] | "\(.key) \(.value)"' "$lab/stack.json" | while read -r name pid; do
        echo "cpu_us:$name $(ps S -o cputimes= --pid "$pid" --ppid "$pid" | awk '{ s += $1 } END { print s * 1000000 }')"
    done
    sql wallet -c "select 'log_bytes:all', pg_current_wal_insert_lsn() - '0/0' union all select 'log_page_images:all', wal_fpi from pg_stat_wal
        union all select 'transactions:all', pg_snapshot_xmax(pg_current_snapshot())::text::numeric"
}

# log_by_table FROM TO: bytes of the log by the table that they are about, with its indexes.
log_by_table() {
    local database data
    data=$(sql postgres -c 'show data_directory')
    for database in wallet bill_payer; do
        sql "$database" -c "select format('%s/%s', d.oid, c.relfilenode), format('log_bytes:%s.%s', d.datname, coalesce(t.relname, c.relname))
            from pg_database d, pg_class c left join pg_index i on i.indexrelid = c.oid left join pg_class t on t.oid = i.indrelid
            where d.datname = current_database() and c.relfilenode <> 0"
    done >"$last.names"
    "/usr/lib/postgresql/$(cat "$data/PG_VERSION")/bin/pg_waldump" -p "$data/pg_wal" -s "$1" -e "$2" | awk '
        NR == FNR { name[$1] = $2; next }
        { bytes = $0; sub(/.*tot\): *[0-9]+\/ */, "", bytes); about = "log_bytes:(" $2 ")" }
        match($0, /rel [0-9]+\/[0-9]+\/[0-9]+/) { split(substr($0, RSTART, RLENGTH), part, "/"); key = part[2] "/" part[3]
            about = key in name ? name[key] : "log_bytes:(else)" }
        { sum[about] += bytes }
        END { for (about in sum) print about, sum[about] }' "$last.names" - | sort -rnk 2
}

payments() {
    local count=${1:-50000} rate=${2:-500} begin end
    echo "# $((count / 2)) payments that do not count, then $count, at $rate a second"
    traffic $((count / 2)) "$rate"
    sql wallet -c 'vacuum analyze'
    sql bill_payer -c 'vacuum analyze'
    sql postgres -c checkpoint
    begin=$(sql postgres -c 'select pg_current_wal_insert_lsn()')
    state >"$last.before"
    traffic "$count" "$rate"
    state >"$last.after"
    sql wallet -c "select format('# Paid: %s a second', round(count(*) / extract(epoch from max(updated_at) - min(created_at))))
        from (select * from payments order by created_at desc limit $count) last"
    end=$(sql postgres -c 'select pg_current_wal_flush_lsn()')
    echo '# A payment                       inserts  updates  not HOT  deletes  bytes of rows and of indexes'
    { cat "$last.before" "$last.after" && log_by_table "$begin" "$end"; } | awk -v n="$count" '
        $1 in was || /^log_bytes:.*[.(]/ { split(was[$1], old, " "); line = sprintf("%-32s", $1); any = 0
            for (i = 2; i <= NF; i++) { a = ($i - old[i]) / n; line = line sprintf(" %8.*f", a < 10 ? 2 : 0, a); any += a >= 0.005 }
            if (any && $1 !~ "[.]pg_") print line; next }
        { was[$1] = $0 }' | tee "$last.payment"
    echo "# Deleting all bills, as housekeeping does (bill-payer/src/housekeeping.rs)"
    count=$(sql bill_payer -c 'select count(*) from bills')
    sql postgres -c checkpoint
    measured bill_payer 'bills and attempts, 1,000 a transaction' "$count" "
        do \$\$ declare place uuid := '00000000-0000-0000-0000-000000000000'; begin
            while place is not null loop
                with batch as materialized (select payment_id from bills where payment_id > place order by payment_id limit 1000),
                gone as (
                    delete from bills using batch where bills.payment_id = batch.payment_id
                    and bills.status in ('paid', 'failed') and bills.updated_at < now())
                select (select payment_id from batch order by payment_id desc limit 1) into place;
                commit;
            end loop;
        end \$\$"
    measured bill_payer 'bills and attempts, vacuum' "$count" 'vacuum bills, bill_attempts'
}

sizes() {
    awk '
        /^table:wallet.(payments|transfers) / { forever += $6 + $7 }
        /^table:.*(inbox|bills|bill_attempts) / { weeks += $6 + $7 }
        /^kafka_bytes:/ { kafka += $2 }
        /^log_bytes:all/ { log_bytes = $2 }
        END {
            printf "A payment: %d bytes for ever, %d for two weeks, %d of log, %d in Kafka\n\n", forever, weeks, log_bytes, kafka
            print "| payments/s | payments | never deleted, GB | deleted after two weeks, GB | log, MB/s | log a day, GB | Kafka, 3 days, GB |"
            print "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
            for (rate = 10; rate <= 10000; rate *= 10) { n = rate * 86400 * 14
                printf "| %d | %d million | %.1f | %.1f | %.2f | %.1f | %.1f |\n", rate, n / 1e6, n * forever / 1e9, n * weeks / 1e9,
                    rate * log_bytes / 1e6, rate * 86400 * log_bytes / 1e9, rate * 86400 * 3 * kafka / 1e9 }
        }' "$last.payment"
}

# A UUID of version 7 begins with its time.
new_id="(lpad(to_hex(floor(extract(epoch from at) * 1000)::bigint), 12, '0') || '7' || substr(r, 1, 3) || '8' || substr(r, 4, 15))::uuid"

# new_rows AT FROM: rows of an inbox, as a query.
new_rows() {
    echo "select 'wallet-api', $new_id, at, 'bill-payer', decode(r || r, 'hex') from (select $1 as at, md5(random()::text) as r from $2 offset 0) new"
}

# bench LABEL ROWS TRANSACTIONS: runs the statement in the input, of so many rows, so many times.
bench() {
    local lsn
    lsn=$(sql scratch -c 'select pg_current_wal_insert_lsn()')
    pgbench -n -M prepared -t "$3" -f - "$server/scratch" 2>"$last.pgbench" |
        awk -v label="$1" -v rows="$2" '/^latency average/ { printf "%-44s %8.1f µs a row", label, $4 * 1000 / rows }'
    sql scratch -c "select format('%32s bytes of log a row', round((pg_current_wal_insert_lsn() - '$lsn') / ($2 * $3)))"
}

inbox() {
    local rows=${1:-500000} table day
    sql postgres -c 'drop database if exists scratch' -c 'create database scratch'
    # The table as the migrations make it, and the same in a partition a day: a range of ids is a range of time, and the primary key
    # stays what it is.
    sql scratch -1 -f migrations/outbox/2026-01-01-000000_outbox/up.sql -f migrations/outbox/2026-11-25-000001_message_identity/up.sql
    sql scratch <<END
create function first_id(at timestamptz) returns uuid language sql as \$\$
    select (lpad(to_hex(floor(extract(epoch from at) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid \$\$;
create table by_day (like inbox including defaults, primary key (consumer, source, event_id)) partition by range (event_id);
create table by_day_other partition of by_day default;
select format('create table by_day_%s partition of by_day for values from (%L) to (%L)',
    day, first_id(current_date - 14 + day), first_id(current_date - 13 + day)) from generate_series(0, 14) day \gexec
-- As housekeeping walks it (operations/src/sweep.rs).
create procedure sweep(older timestamptz, rows_max int) language plpgsql as \$\$
declare
    place record;
begin
    select '' as consumer, '' as source, first_id('epoch') as event_id, true as any_old into place;
    while place.any_old loop
        with batch as materialized (
            select consumer, source, event_id, seen_at < older as old
            from inbox where (consumer, source, event_id) > (place.consumer, place.source, place.event_id)
            order by consumer, source, event_id limit rows_max),
        gone as (
            delete from inbox using batch where batch.old and inbox.consumer = batch.consumer
            and inbox.source = batch.source and inbox.event_id = batch.event_id returning 1),
        last as (
            select * from batch order by consumer desc, source desc, event_id desc limit 1)
        select consumer, source, event_id, (select bool_or(old) from batch) as any_old into place from last;
        commit;
    end loop;
end \$\$;
insert into inbox $(new_rows "current_date - 14 + n * interval '1 day' / $rows" "generate_series(0, 14 * $rows - 1) n");
insert into by_day select * from inbox;
create table known as select row_number() over () as n, event_id from inbox tablesample bernoulli (1);
create index on known (n);
vacuum analyze;
checkpoint;
END
    for table in inbox by_day; do
        sql scratch -c "select format('%-44s %8s MB of rows %8s MB of indexes', '$table, 14 days of $rows rows',
            round(sum(pg_table_size(relid)) / 1000000), round(sum(pg_indexes_size(relid)) / 1000000)) 
            from (select relid from pg_partition_tree('$table') union select '$table'::regclass) part"
    done
    for _ in 1 2 3; do
        for table in inbox by_day; do
            bench "$table, insert 100 rows a transaction" 100 1000 <<<"insert into $table $(new_rows 'clock_timestamp()' 'generate_series(1, 100)')
                on conflict do nothing returning source, event_id, fingerprint;"
            bench "$table, insert 1 row a transaction" 1 3000 <<<"insert into $table $(new_rows 'clock_timestamp()' 'generate_series(1, 1)')
                on conflict do nothing returning source, event_id, fingerprint;"
            bench "$table, look up 100 old rows" 100 1000 <<<"\\set n random(1, $((rows / 8)))
                select source, event_id, fingerprint from $table where consumer = 'wallet-api' and (source, event_id) in
                (select 'bill-payer', unnest(array(select event_id from known where n between :n and :n + 99)));"
        done
    done
    for day in 0 1 2; do
        sql postgres -c checkpoint
        measured scratch 'inbox, delete a day, 1,000 a transaction' "$rows" "call sweep(current_date - 13 + $day, 1000)"
        measured scratch 'inbox, vacuum' "$rows" 'vacuum inbox'
        measured scratch 'by_day, drop a day' "$rows" "drop table by_day_$day"
    done
}

wallets() {
    local wallets=${1:-200000}
    sql postgres -c 'drop database if exists scratch' -c 'create database scratch'
    sql scratch -1 -f <(cat migrations/outbox/*/up.sql migrations/wallet/*/up.sql)
    sql scratch <<END
create table ids as select n, gen_random_uuid() as id from generate_series(1, $wallets) n;
alter table ids add primary key (n);
insert into accounts (id, kind, currency)
    select id, 'wallet', 'INR' from ids union all select gen_random_uuid(), kind, 'INR' from unnest('{clearing,provider}'::text[]) kind;
insert into wallets (id, currency, balance) select id, 'INR', 1000000 from ids;
-- The rows of so many payments, each of any wallet.
create procedure pay(count int) language sql as \$\$
    with paid as (
        select ids.id as wallet, $new_id as id, r from ids join (
            select (1 + floor(random() * $wallets))::int as n, clock_timestamp() as at, md5(random()::text) as r
            from generate_series(1, count) offset 0) one using (n)),
    payment as (
        insert into payments (id, wallet_id, amount, currency, provider, account_number, idempotency_key, fingerprint)
        select id, wallet, 1, 'INR', 'wifi', 'WIFI-42', r, decode(r || r, 'hex') from paid),
    transfer as (
        insert into transfers (id, kind, debit_account, credit_account, amount, payment_id)
        select id, 'payment', wallet, (select id from accounts where kind = 'clearing'), 1, id from paid)
    update wallets set balance = balance - sum, version = version + 1, updated_at = now()
    from (select wallet, count(*) as sum from paid group by wallet) one where wallets.id = wallet \$\$;
call pay(5 * $wallets);
vacuum analyze;
checkpoint;
END
    echo "# $wallets wallets with 5 payments each; 100 payments a transaction; no events, no settlement"
    local hundred="do \$\$ begin for i in 1..N loop call pay(100); commit; end loop; end \$\$"
    measured scratch 'the first 2,000 payments after a checkpoint' 2000 "${hundred/N/20}"
    measured scratch 'the next 98,000' 98000 "${hundred/N/980}"
    measured scratch 'the 2,000 after them' 2000 "${hundred/N/20}"
}

case "${1:-}" in
    payments | sizes | inbox | wallets)
        server=$(sed 's|/[^/]*$||' "$lab/database-url")
        "$@"
        ;;
    *) sed -n '2,7s/^# \{0,1\}//p' "$self" ;;
esac
