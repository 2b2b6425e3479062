//! How PostgreSQL reads the tables.

use axum::http::StatusCode;
use chassis::consumer::Handler as _;
use diesel::QueryableByName;
use diesel::sql_types::Text;
use diesel_async::{RunQueryDsl as _, SimpleAsyncConnection as _};
use wallet_api::reads::PAYMENTS_OF_WALLET;
use wallet_api::settlement::Settlement;

use crate::settlement::{failed, paid};
use crate::support::WalletApi;

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text, column_name = "QUERY PLAN")]
    line: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_payments_is_a_range_of_the_index_by_time() {
    let api = WalletApi::start().await;
    for _ in 0..20 {
        api.wallet("0").await;
    }
    let mut conn = api.database.connect().await;
    conn.batch_execute(&format!(
        "insert into payments \
             (id, wallet_id, amount, currency, provider, account_number, idempotency_key, fingerprint, created_at) \
             select gen_random_uuid(), id, 1, 'INR', 'wifi', 'W', number::text, '', now() - number * interval '1 s' \
             from wallets, generate_series(1, 500) as number; \
         analyze payments; \
         set plan_cache_mode = force_generic_plan; \
         prepare page (uuid, timestamptz, uuid, bigint) as {PAYMENTS_OF_WALLET}"
    ))
    .await
    .unwrap();
    let explain =
        "explain (costs off) execute page (gen_random_uuid(), now(), gen_random_uuid(), 50)";
    let plan: Vec<Line> = diesel::sql_query(explain).load(&mut conn).await.unwrap();
    let plan: Vec<&str> = plan.iter().map(|line| line.line.as_str()).collect();
    let plan = plan.join("\n");
    for step in [
        "Index Scan Backward using payments_of_wallet_by_time",
        "Index Cond: ((wallet_id = $1) AND (ROW(created_at, id) < ROW(",
    ] {
        assert!(plan.contains(step), "{plan}");
    }
    assert!(!plan.contains("Sort") && !plan.contains("Filter"), "{plan}");
}

/// A plan is kept for as long as nobody analyses its tables. So plans are made here while the tables are small, and
/// then the tables grow.
#[tokio::test(flavor = "multi_thread")]
async fn paying_and_settling_read_no_table_from_end_to_end_with_plans_made_for_small_tables() {
    for analysed in [Analysed::Never, Analysed::Small] {
        let api = WalletApi::start().await;
        api.database.keep_statistics().await;
        let wallet = api.wallet("1000").await;
        pay_and_settle(&api, &wallet, 0).await;
        if analysed == Analysed::Small {
            api.database.analyse().await;
            pay_and_settle(&api, &wallet, 20).await;
        }
        api.database.grow(GROW).await;
        pay_and_settle(&api, &wallet, 40).await;
        let whole = api.database.read_from_end_to_end(&api.pool, 20_000).await;
        assert_eq!(whole, [""; 0], "{analysed:?}");
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Analysed {
    Never,
    Small,
}

const GROW: &str = "insert into accounts (id, kind, currency) \
         select gen_random_uuid(), 'wallet', 'INR' from generate_series(1, 20000); \
     insert into wallets (id, currency) \
         select id, currency from accounts where kind = 'wallet' on conflict do nothing; \
     insert into payments \
         (id, wallet_id, amount, currency, provider, account_number, idempotency_key, fingerprint) \
         select gen_random_uuid(), id, 1, 'INR', 'wifi', 'W', 'mine', '' from wallets; \
     insert into inbox (consumer, source, event_id, fingerprint) \
         select 'wallet-api', 'bill-payer', gen_random_uuid(), '' from generate_series(1, 20000)";

async fn pay_and_settle(api: &WalletApi, wallet: &str, first: i64) {
    for round in first..first + 20 {
        let payment = api.pay(wallet, Some(&round.to_string()), "1").await;
        assert_eq!(payment.status, StatusCode::ACCEPTED, "{payment:?}");
        let ended = if round % 2 == 0 { paid } else { failed };
        let result = ended(round, wallet, &payment.id(), "1");
        let taken = Settlement::new(api.pool.clone()).handle(&[result]).await;
        taken.unwrap();
    }
}
