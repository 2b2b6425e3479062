#!/bin/bash
# Makes the topics: services do not, and neither does the broker by itself. Where there is a list of who may do what (ACLS),
# tells the broker that list too.
set -eu
# Each command is a JVM that does little.
export KAFKA_JVM_PERFORMANCE_OPTS='-XX:TieredStopAtLevel=1 -XX:+UseSerialGC'

tool() {
    local program=$1
    shift
    "/opt/kafka/bin/$program" --bootstrap-server kafka:9092 \
        ${CLIENT_PROPERTIES:+--command-config "$CLIENT_PROPERTIES"} "$@"
}

for topic in wallet.events bill.events wallet.commands; do
    tool kafka-topics.sh --create --if-not-exists --topic "$topic" --partitions 8 --replication-factor 1
done

[ -n "${ACLS:-}" ] || exit 0
while read -r user operations resources; do
    IFS=, read -ra operations <<<"$operations"
    read -ra resources <<<"$resources"
    tool kafka-acls.sh --add --allow-principal "User:$user" "${operations[@]/#/--operation=}" "${resources[@]/#/--}" </dev/null
done < <(grep -v '^#' "$ACLS")
