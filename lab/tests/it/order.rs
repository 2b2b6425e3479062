//! Promise 4: events of one wallet are first seen in the order they were committed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use diesel_async::{RunQueryDsl, SimpleAsyncConnection as _};
use testkit::eventually;
use uuid::Uuid;

use crate::system::System;

const PAYMENTS: usize = 2_000;
const WALLETS: usize = 20;

#[derive(diesel::QueryableByName)]
struct Committed {
    #[diesel(sql_type = diesel::sql_types::Text)]
    wallet: String,
    #[diesel(sql_type = diesel::sql_types::Uuid)]
    id: Uuid,
}

#[tokio::test(flavor = "multi_thread")]
async fn two_relays_and_2000_payments_on_20_wallets_are_first_seen_in_commit_order() {
    let system = Arc::new(System::start().await);
    let mut conn = system.wallet_database.connect().await;
    // The outbox deletes published events; this table keeps them. Its `place` is drawn under the wallet's
    // lock, like everything in the payment's transaction, so for one wallet it is the order of commits.
    conn.batch_execute(
        "create table remembered (place bigint generated always as identity, wallet text, id uuid); \
         create function remember() returns trigger language plpgsql as \
         'begin insert into remembered (wallet, id) values (new.aggregateid, new.id); return new; end'; \
         create trigger remember after insert on outbox for each row execute function remember()",
    )
    .await
    .unwrap();
    let mut wallets = Vec::new();
    for _ in 0..WALLETS {
        wallets.push(system.wallet("1000").await);
    }
    let mut payers = tokio::task::JoinSet::new();
    for payer in 0..50 {
        let (system, wallets) = (Arc::clone(&system), wallets.clone());
        payers.spawn(async move {
            for payment in 0..PAYMENTS / 50 {
                system
                    .accepted(&wallets[(payer + payment * 7) % WALLETS])
                    .await;
            }
        });
    }
    payers.join_all().await;
    let committed: Vec<Committed> =
        diesel::sql_query("select wallet, id from remembered order by place")
            .load(&mut conn)
            .await
            .unwrap();
    assert_eq!(committed.len(), PAYMENTS);
    let mut seen = HashSet::new();
    let mut first_seen: HashMap<String, Vec<Uuid>> = HashMap::new();
    while seen.len() < PAYMENTS {
        let record = system.wallet_events.next().await;
        let id: Uuid = record.header("ce_id").unwrap().parse().unwrap();
        if seen.insert(id) {
            let wallet = String::from_utf8(record.key.unwrap()).unwrap();
            first_seen.entry(wallet).or_default().push(id);
        }
    }
    for wallet in &wallets {
        let order: Vec<Uuid> = committed
            .iter()
            .filter(|row| &row.wallet == wallet)
            .map(|row| row.id)
            .collect();
        assert_eq!(first_seen.get(wallet), Some(&order), "wallet {wallet}");
    }
    eventually("all payments are paid", async || {
        let pending = "select count(*) from payments where status <> 'paid'";
        match system.wallet_database.count(pending).await {
            0 => Ok(()),
            pending => Err(format!("{pending} pending")),
        }
    })
    .await;
    let list = system.look(&system.provider, "/payments?limit=1").await;
    assert_eq!(list["accepted"], PAYMENTS);
    system.assert_settled().await;
}
