//! The tables of `migrations/wallet`, as Diesel sees them, and the row of a payment.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use events::Money;
use rust_decimal::Decimal;
use uuid::Uuid;

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
        owner -> Nullable<Text>,
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

#[derive(Queryable, QueryableByName, Selectable)]
#[diesel(table_name = payments, check_for_backend(diesel::pg::Pg))]
pub(crate) struct PaymentRow {
    pub(crate) id: Uuid,
    pub(crate) wallet_id: Uuid,
    pub(crate) amount: Decimal,
    pub(crate) currency: String,
    pub(crate) provider: String,
    pub(crate) account_number: String,
    pub(crate) status: String,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) fingerprint: Vec<u8>,
    pub(crate) receipt: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
}

impl PaymentRow {
    /// None where the currency can't express the amount, as a declined payment may have it.
    pub(crate) fn money(&self) -> Option<Money> {
        let amount = self.amount.normalize().to_string().parse().ok()?;
        Money::new(amount, self.currency.parse().ok()?).ok()
    }
}
