//! The tables of `migrations/operations`, as Diesel sees them.

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
