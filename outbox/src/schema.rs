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
        tracestate -> Text,
        payload -> Jsonb,
        created_at -> Timestamptz,
        shard -> SmallInt,
    }
}
