//! Lists are paged by key, newest first.

use diesel_async::SimpleAsyncConnection as _;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::WalletApi;

async fn all_pages(api: &WalletApi, path: &str) -> Vec<Value> {
    let mut items = Vec::new();
    let mut next = path.to_owned();
    loop {
        let page = api.get(&next).await.body;
        let page_items = page["items"].as_array().expect("items").clone();
        assert!(page_items.len() <= 2);
        items.extend(page_items);
        match page["next_before"].as_str() {
            None => return items,
            Some(before) => next = format!("{path}&before={before}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_hold_everything_once_newest_first() {
    let api = WalletApi::start().await;
    let wallet = api.wallet("100").await;
    let other = api.wallet("100").await;
    let mut paid = Vec::new();
    for amount in ["1", "2", "3", "4", "5"] {
        paid.push(api.pay(&wallet, None, amount).await.id());
        api.pay(&other, None, amount).await;
    }
    paid.reverse();
    let payments = all_pages(&api, &format!("/wallets/{wallet}/payments?limit=2")).await;
    let ids: Vec<&str> = payments
        .iter()
        .filter_map(|item| item["id"].as_str())
        .collect();
    assert_eq!(ids, paid);
    let transfers = all_pages(&api, &format!("/wallets/{wallet}/transfers?limit=2")).await;
    let kinds: Vec<&Value> = transfers.iter().map(|item| &item["kind"]).collect();
    assert_eq!(
        json!(kinds),
        json!([
            "payment", "payment", "payment", "payment", "payment", "top_up"
        ])
    );
    let wallets = all_pages(&api, "/wallets?limit=2").await;
    assert_eq!(wallets.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_in_a_currency_that_was_withdrawn_is_read_and_pays() {
    let api = WalletApi::start().await;
    let other = api.wallet("0").await;
    let wallet = Uuid::now_v7();
    let mut conn = api.database.connect().await;
    // The wallet was made when people still paid with its currency.
    conn.batch_execute(&format!(
        "insert into accounts (id, kind, currency) values ('{wallet}', 'wallet', 'HRK'); \
         insert into accounts (id, kind, currency) values {}; \
         insert into wallets (id, currency) values ('{wallet}', 'HRK')",
        ["funding", "clearing", "provider"]
            .map(|kind| {
                let name = format!("{kind}:HRK");
                let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes());
                format!("('{id}', '{kind}', 'HRK')")
            })
            .join(", ")
    ))
    .await
    .unwrap();
    let wallet = wallet.to_string();
    let path = format!("/wallets/{wallet}/top-ups");
    let topped_up = api.post(&path, None, &json!({ "amount": "5" })).await;
    assert_eq!(topped_up.body["balance"], "5.00", "{topped_up:?}");
    let body = json!({ "amount": "2", "account_number": "W", "currency": "HRK" });
    let paid = api
        .post(&format!("/wallets/{wallet}/pay-bill"), None, &body)
        .await;
    assert_eq!(
        (&paid.body["status"], &paid.body["currency"]),
        (&json!("pending"), &json!("HRK"))
    );
    let listed = api.get("/wallets").await.body;
    let ids: Vec<&Value> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["id"])
        .collect();
    assert_eq!(json!(ids), json!([wallet, other]));
    assert_eq!(api.balance(&wallet).await, "3.00");
    api.assert_money_is_conserved().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_shown_as_it_was_answered() {
    let api = WalletApi::start().await;
    let wallet = api.wallet("100").await;
    let answered = api.pay(&wallet, None, "1").await;
    let shown = api.get(answered.header("location")).await;
    assert_eq!(shown.body, answered.body);
}
