//! The ledger's rules are held by the database, whatever the code does.

use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};

use crate::support::WalletApi;

#[tokio::test(flavor = "multi_thread")]
async fn the_database_refuses_what_would_break_the_ledger() {
    let api = WalletApi::start().await;
    let wallet = api.wallet("10").await;
    let payment = api.pay(&wallet, None, "1").await.id();
    let mut conn = api.database.connect().await;
    let transfer = "insert into transfers (id, kind, debit_account, credit_account, amount, payment_id) \
                    select gen_random_uuid(), ";
    let rupees = format!("(select debit_account from transfers where payment_id = '{payment}')");
    let settlement = format!(
        "{transfer} 'settlement', a.id, b.id, 1, '{payment}' from accounts a, accounts b \
         where a.kind = 'clearing' and b.kind = 'provider'"
    );
    for (statement, rule) in [
        ("update transfers set amount = 2".to_owned(), "append-only"),
        ("delete from transfers".to_owned(), "append-only"),
        ("truncate transfers cascade".to_owned(), "append-only"),
        (
            format!("{transfer} 'top_up', {rupees}, gen_random_uuid(), 1, null"),
            "two known accounts",
        ),
        (
            format!("{transfer} 'top_up', id, id, 1, null from wallets"),
            "transfer_has_two_accounts",
        ),
        (
            "update transfers set amount = 0; ".to_owned(),
            "append-only",
        ),
        (
            "update wallets set balance = -1".to_owned(),
            "wallet_is_never_negative",
        ),
        (
            "update payments set status = 'paid'".to_owned(),
            "paid_payment_has_receipt",
        ),
        (
            "update payments set status = 'refunded'".to_owned(),
            "refunded_or_declined_payment_has_reason",
        ),
        (
            "update payments set amount = 2".to_owned(),
            "payment only moves",
        ),
        (
            format!("{settlement}; {settlement}"),
            "payment_is_settled_or_refunded_once",
        ),
        (
            "update payments set status = 'paid', receipt = 'r'; \
             update payments set status = 'refunded', reason = 'late', receipt = null"
                .to_owned(),
            "payment only moves",
        ),
    ] {
        refuses(&mut conn, &statement, rule).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_declined_from_the_start_with_a_reason_or_never() {
    let api = WalletApi::start().await;
    let wallet = api.wallet("10").await;
    api.pay(&wallet, None, "1").await;
    let mut conn = api.database.connect().await;
    let declined = "insert into payments (id, wallet_id, amount, currency, provider, account_number, \
                    fingerprint, status, idempotency_key, reason) \
                    select gen_random_uuid(), id, 1, 'INR', 'wifi', 'W', '', 'declined', ";
    for (statement, rule) in [
        (
            "update payments set status = 'declined', reason = 'r', idempotency_key = null"
                .to_owned(),
            "payment only moves",
        ),
        (
            format!("{declined} 'k', 'r' from wallets"),
            "declined_payment_holds_no_key",
        ),
        (
            format!("{declined} null, null from wallets"),
            "refunded_or_declined_payment_has_reason",
        ),
        (
            format!(
                "{declined} null, 'r' from wallets; update payments set status = 'paid', \
                 receipt = 'r', reason = null, idempotency_key = 'k' where status = 'declined'"
            ),
            "payment only moves",
        ),
    ] {
        refuses(&mut conn, &statement, rule).await;
    }
}

/// The database refuses `statement`, and names the rule.
async fn refuses(conn: &mut AsyncPgConnection, statement: &str, rule: &str) {
    let refused = conn
        .batch_execute(&format!("begin; {statement}"))
        .await
        .expect_err(statement)
        .to_string();
    conn.batch_execute("rollback").await.expect("rollback");
    assert!(refused.contains(rule), "{statement}: {refused}");
}
