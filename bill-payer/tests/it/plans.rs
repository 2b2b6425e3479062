//! How PostgreSQL reads the tables.

use crate::support::{BillPayer, Running, quick};

/// A plan is kept for as long as nobody analyses its tables. So plans are made here while the tables are small, and
/// then the tables grow.
#[tokio::test]
async fn paying_bills_reads_no_table_from_end_to_end_with_plans_made_for_small_tables() {
    for analysed in [Analysed::Never, Analysed::Small] {
        let payer = BillPayer::start().await;
        payer.database.keep_statistics().await;
        let executor = Running::start(payer.executor(quick()));
        pay(&payer).await;
        if analysed == Analysed::Small {
            payer.database.analyse().await;
            pay(&payer).await;
        }
        payer.database.grow(GROW).await;
        pay(&payer).await;
        executor.stop().await;
        let database = &payer.database;
        let whole = database.read_from_end_to_end(&payer.pool, 20_000).await;
        assert_eq!(whole, [""; 0], "{analysed:?}");
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Analysed {
    Never,
    Small,
}

const GROW: &str = "insert into bills \
         (payment_id, wallet_id, amount, currency, provider, account_number, traceparent, status, receipt) \
         select gen_random_uuid(), gen_random_uuid(), 1, 'INR', 'wifi', 'W', '', 'paid', 'R' \
         from generate_series(1, 20000); \
     insert into bill_attempts (payment_id, call, attempt, took_ms, outcome, verdict) \
         select payment_id, 'pay', 1, 1, 'paid', 'recorded' from bills on conflict do nothing; \
     insert into inbox (consumer, source, event_id, fingerprint) \
         select 'bill-payer', 'wallet-api', gen_random_uuid(), '' from generate_series(1, 20000)";

async fn pay(payer: &BillPayer) {
    for _ in 0..20 {
        let bill = payer.take("WIFI-1").await;
        payer.becomes(bill, "paid").await;
    }
}
