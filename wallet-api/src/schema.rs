//! The tables of `migrations/wallet`, as Diesel sees them.

diesel::table! {
    accounts (id) {
        id -> Uuid,
        kind -> Text,
        currency -> Text,
    }
}

diesel::table! {
    wallets (id) {
        id -> Uuid,
        currency -> Text,
        balance -> Numeric,
        version -> BigInt,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    payments (id) {
        id -> Uuid,
        wallet_id -> Uuid,
        amount -> Numeric,
        currency -> Text,
        provider -> Text,
        account_number -> Text,
        status -> Text,
        idempotency_key -> Nullable<Text>,
        fingerprint -> Binary,
        receipt -> Nullable<Text>,
        reason -> Nullable<Text>,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    top_ups (id) {
        id -> Uuid,
        wallet_id -> Uuid,
        idempotency_key -> Text,
        fingerprint -> Binary,
        balance_after -> Numeric,
    }
}

diesel::table! {
    wallet_keys (idempotency_key) {
        idempotency_key -> Text,
        fingerprint -> Binary,
        wallet_id -> Uuid,
    }
}

diesel::table! {
    transfers (id) {
        id -> Uuid,
        kind -> Text,
        debit_account -> Uuid,
        credit_account -> Uuid,
        amount -> Numeric,
        payment_id -> Nullable<Uuid>,
        created_at -> Timestamptz,
    }
}

diesel::allow_tables_to_appear_in_same_query!(top_ups, transfers);
