//! The table of `migrations/bill-payer`, as Diesel sees it.

diesel::table! {
    bills (payment_id) {
        payment_id -> Uuid,
        wallet_id -> Uuid,
        amount -> Numeric,
        currency -> Text,
        provider -> Text,
        account_number -> Text,
        traceparent -> Text,
        status -> Text,
        attempts -> Integer,
        next_attempt_at -> Timestamptz,
        claim -> Nullable<Uuid>,
        receipt -> Nullable<Text>,
        last_error -> Nullable<Text>,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}
