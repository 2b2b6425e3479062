//! How PostgreSQL reads a wallet's payments.

use diesel::QueryableByName;
use diesel::sql_types::Text;
use diesel_async::{RunQueryDsl as _, SimpleAsyncConnection as _};
use wallet_api::reads::PAYMENTS_OF_WALLET;

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
