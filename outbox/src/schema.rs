//! The tables of `migrations/outbox`, as Diesel sees them.
#![expect(missing_docs, reason = "the columns are described in the migration")]

diesel::table! {
    outbox (seq) {
        seq -> BigInt,
        id -> Uuid,
        aggregatetype -> Text,
        aggregateid -> Text,
        #[sql_name = "type"]
        type_ -> Text,
        source -> Text,
        specversion -> Text,
        contenttype -> Text,
        traceparent -> Text,
        payload -> Jsonb,
        created_at -> Timestamptz,
        shard -> SmallInt,
    }
}

diesel::table! {
    inbox (consumer, source, event_id) {
        consumer -> Text,
        event_id -> Uuid,
        seen_at -> Timestamptz,
        source -> Text,
        fingerprint -> Nullable<Binary>,
    }
}

diesel::table! {
    dead_letters (id) {
        id -> BigInt,
        consumer -> Text,
        topic -> Text,
        kafka_partition -> Integer,
        kafka_offset -> BigInt,
        key -> Nullable<Binary>,
        headers -> Jsonb,
        payload -> Nullable<Binary>,
        reason -> Text,
        created_at -> Timestamptz,
        status -> Text,
        retries -> Integer,
        ended_at -> Nullable<Timestamptz>,
        digest -> Binary,
    }
}

diesel::table! {
    operator_actions (id) {
        id -> BigInt,
        at -> Timestamptz,
        operator -> Text,
        action -> Text,
        subject -> Text,
        note -> Nullable<Text>,
    }
}
