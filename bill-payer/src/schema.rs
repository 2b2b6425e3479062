//! The tables of `migrations/bill-payer`, as Diesel sees them.

diesel::table! {
    bills (payment_id) {
        payment_id -> Uuid,
        wallet_id -> Uuid,
        amount -> Numeric,
        currency -> Text,
        provider -> Text,
        account_number -> Text,
        traceparent -> Text,
        // And tracestate, which the macro has no room for: it takes 16 columns.
        status -> Text,
        attempts -> Integer,
        failing_since -> Nullable<Timestamptz>,
        next_attempt_at -> Timestamptz,
        claim -> Nullable<Uuid>,
        receipt -> Nullable<Text>,
        last_error -> Nullable<Text>,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    bill_attempts (payment_id, call, attempt) {
        payment_id -> Uuid,
        call -> Text,
        attempt -> Integer,
        times -> Integer,
        answered_at -> Timestamptz,
        took_ms -> Integer,
        outcome -> Text,
        verdict -> Text,
        detail -> Nullable<Text>,
    }
}
