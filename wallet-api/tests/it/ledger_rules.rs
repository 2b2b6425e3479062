//! The ledger's rules are held by the database, whatever the code does: a test for each of them.

use diesel_async::SimpleAsyncConnection as _;

use crate::support::WalletApi;

/// A wallet of 10 rupees that has paid 1, with an answer still to come.
struct Ledger {
    api: WalletApi,
    wallet: String,
    payment: String,
}

const TRANSFER: &str = "insert into transfers (id, kind, debit_account, credit_account, amount, payment_id) \
                        select gen_random_uuid(), ";

impl Ledger {
    async fn start() -> Self {
        let api = WalletApi::start().await;
        let wallet = api.wallet("10").await;
        let payment = api.pay(&wallet, None, "1").await.id();
        Self {
            api,
            wallet,
            payment,
        }
    }

    /// Every statement is refused, and by this rule.
    async fn refuses(&self, rule: &str, statements: &[&str]) {
        let mut conn = self.api.database.connect().await;
        for statement in statements {
            let refused = conn.batch_execute(&format!("begin; {statement}")).await;
            let refused = refused.expect_err(statement).to_string();
            conn.batch_execute("rollback").await.expect("rollback");
            assert!(refused.contains(rule), "{statement}: {refused}");
        }
    }

    /// A transfer between system accounts, for the payment.
    fn transfer(&self, kind: &str, to: &str, amount: &str) -> String {
        let payment = &self.payment;
        format!(
            "{TRANSFER} '{kind}', debit.id, credit.id, {amount}, '{payment}' \
             from accounts debit, accounts credit \
             where debit.kind = 'clearing' and credit.kind = '{to}'"
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transfers_are_append_only() {
    let ledger = Ledger::start().await;
    let statements = [
        "update transfers set amount = 2",
        "delete from transfers",
        "truncate transfers cascade",
    ];
    ledger
        .refuses("transfers are append-only", &statements)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn amounts_are_positive() {
    let ledger = Ledger::start().await;
    for amount in ["0", "-1"] {
        let transfer = ledger.transfer("settlement", "provider", amount);
        ledger
            .refuses("transfer_amount_is_positive", &[&transfer])
            .await;
        let payment = format!(
            "insert into payments (id, wallet_id, amount, currency, provider, account_number, \
                 idempotency_key, fingerprint) \
             select gen_random_uuid(), wallet_id, {amount}, currency, provider, account_number, \
                 'another', fingerprint from payments"
        );
        ledger
            .refuses("payment_amount_is_positive", &[&payment])
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_is_never_negative() {
    let ledger = Ledger::start().await;
    let statements = ["update wallets set balance = -0.0001"];
    ledger
        .refuses("wallet_is_never_negative", &statements)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_debited_once_and_settled_or_refunded_once() {
    let ledger = Ledger::start().await;
    let settlement = ledger.transfer("settlement", "provider", "1");
    let refund = ledger.transfer("refund", "wallet", "1");
    let twice = [
        format!("{settlement}; {settlement}"),
        format!("{settlement}; {refund}"),
        format!("{refund}; {settlement}"),
        format!("{refund}; {refund}"),
    ];
    let twice = twice.each_ref().map(String::as_str);
    ledger
        .refuses("payment_is_settled_or_refunded_once", &twice)
        .await;
    let debit = ledger.transfer("payment", "provider", "1");
    ledger.refuses("payment_is_debited_once", &[&debit]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paid_payment_has_a_receipt_and_a_refunded_one_a_reason() {
    let ledger = Ledger::start().await;
    let without = [
        "update payments set status = 'paid'",
        "update payments set receipt = 'r'",
        "update payments set status = 'refunded', reason = 'late', receipt = 'r'",
    ];
    ledger.refuses("paid_payment_has_receipt", &without).await;
    let without = [
        "update payments set status = 'refunded'",
        "update payments set reason = 'late'",
    ];
    ledger
        .refuses("refunded_or_declined_payment_has_reason", &without)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_declined_from_the_start_with_a_reason_or_never() {
    let ledger = Ledger::start().await;
    let declined = "insert into payments (id, wallet_id, amount, currency, provider, account_number, \
                    fingerprint, status, idempotency_key, reason) \
                    select gen_random_uuid(), id, 1, 'INR', 'wifi', 'W', '', 'declined', ";
    let later = "update payments set status = 'declined', reason = 'r', idempotency_key = null";
    let paid = format!(
        "{declined} null, 'r' from wallets; update payments set status = 'paid', \
         receipt = 'r', reason = null, idempotency_key = 'k' where status = 'declined'"
    );
    ledger.refuses("payment only moves", &[later, &paid]).await;
    let with_key = format!("{declined} 'k', 'r' from wallets");
    ledger
        .refuses("declined_payment_holds_no_key", &[&with_key])
        .await;
    let without_reason = format!("{declined} null, null from wallets");
    ledger
        .refuses(
            "refunded_or_declined_payment_has_reason",
            &[&without_reason],
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_keeps_what_it_is_about_and_only_moves_forward() {
    let ledger = Ledger::start().await;
    let paid = "update payments set status = 'paid', receipt = 'r'";
    let back = format!("{paid}; update payments set status = 'pending', receipt = null");
    let across =
        format!("{paid}; update payments set status = 'refunded', reason = 'late', receipt = null");
    let statements = ["update payments set amount = 2", &back, &across];
    ledger.refuses("a payment only moves", &statements).await;
    let gone = ["delete from payments"];
    ledger.refuses("transfers_payment_id_fkey", &gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_accounts_of_a_transfer_have_one_currency() {
    let ledger = Ledger::start().await;
    let wallet = &ledger.wallet;
    let dollars =
        "insert into accounts (id, kind, currency) values (gen_random_uuid(), 'funding', 'USD')";
    let across = format!(
        "{dollars}; {TRANSFER} 'top_up', id, '{wallet}', 1, null from accounts where currency = 'USD'"
    );
    let nowhere = format!("{TRANSFER} 'top_up', gen_random_uuid(), '{wallet}', 1, null");
    let rule = "two known accounts of one currency";
    ledger.refuses(rule, &[&across, &nowhere]).await;
    let circle = format!("{TRANSFER} 'top_up', id, id, 1, null from wallets");
    ledger
        .refuses("transfer_has_two_accounts", &[&circle])
        .await;
    // A later update does not give them two either.
    let later = [
        "update accounts set currency = 'USD'",
        "delete from accounts",
    ];
    ledger.refuses("accounts never change", &later).await;
    let later = ["update wallets set currency = 'USD'"];
    ledger.refuses("a wallet keeps its currency", &later).await;
}
