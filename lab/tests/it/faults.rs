//! 2,000 payments at a provider that loses responses, fails and declines: each payment ends, and all money is where the
//! provider says it is. Runs in each relay mode.

use std::sync::Arc;

use diesel::sql_types::Text;
use diesel_async::RunQueryDsl as _;
use serde_json::{Value, json};
use testkit::{connect_url, eventually};

use crate::audit::{audit, findings};
use crate::system::System;

const PAYMENTS: usize = 2_000;
const PAYERS: usize = 40;
const WALLETS: usize = 20;

/// What the provider does to a call.
fn faults() -> Value {
    json!({
        "timeout_share": 0.2,
        // Longer than bill-payer waits: the provider takes the money, and the response is lost.
        "timeout_ms": 3_000,
        "server_error_share": 0.2,
        "decline_share": 0.1,
    })
}

/// Settings for relays in this mode and a bill-payer with short waits.
pub(crate) fn settings(mode: &str) -> Vec<(&'static str, &'static str, String)> {
    vec![
        ("relay", "RELAY_MODE", mode.to_owned()),
        ("relay", "CONNECT_URL", connect_url()),
        ("bill-payer", "PROVIDER_CALL_TIMEOUT_MS", "500".to_owned()),
        ("bill-payer", "CLAIM_LEASE_MS", "2500".to_owned()),
        ("bill-payer", "RETRY_FIRST_MS", "20".to_owned()),
        ("bill-payer", "RETRY_MAX_MS", "200".to_owned()),
        ("bill-payer", "CALLS_IN_FLIGHT_MAX", "256".to_owned()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn in_mode_poller_2000_payments_meet_a_bad_provider_and_all_end_well() {
    all_end_well("poller").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_mode_cdc_2000_payments_meet_a_bad_provider_and_all_end_well() {
    all_end_well("cdc").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_mode_debezium_2000_payments_meet_a_bad_provider_and_all_end_well() {
    all_end_well("debezium").await;
}

async fn all_end_well(mode: &str) {
    let mut system = System::start_with(settings(mode)).await;
    system.behave(&faults()).await;
    let system_at_work = Arc::new(system);
    pay(&system_at_work).await;
    system = Arc::into_inner(system_at_work).expect("the payers have ended");
    let mut least = usize::MAX;
    while least > 0 {
        // A slow machine may need long, as long as there is progress.
        let before = least;
        least = eventually("more payments have ended", async || {
            let pending = "select count(*) from payments where status = 'pending'";
            match usize::try_from(system.wallet_database.count(pending).await).unwrap() {
                pending if pending == 0 || pending < before => Ok(pending),
                pending => Err(format!("{pending} are pending")),
            }
        })
        .await;
    }
    let report = audit(&system, &[]).await;
    assert_eq!(findings(&report), [], "{report}");
    let count = |name: &str| report[name].as_u64().unwrap();
    assert_eq!(
        count("accepted"),
        u64::try_from(PAYMENTS).unwrap(),
        "{report}"
    );
    assert_eq!(
        count("paid") + count("refunded"),
        count("accepted"),
        "{report}"
    );
    assert!(
        count("refunded") > 0 && count("paid") > count("refunded"),
        "{report}"
    );
    assert_eq!(paid(&system).await, taken(&system).await);
    system.assert_settled().await;
    leave(&mut system, mode).await;
}

/// Pays with amounts from 1.00 to 9.99, many at a time.
async fn pay(system: &Arc<System>) {
    let mut wallets = Vec::new();
    for _ in 0..WALLETS {
        wallets.push(system.wallet("100000").await);
    }
    let wallets = Arc::new(wallets);
    let mut payers = tokio::task::JoinSet::new();
    for payer in 0..PAYERS {
        let (system, wallets) = (Arc::clone(system), Arc::clone(&wallets));
        payers.spawn(async move {
            for turn in 0..PAYMENTS / PAYERS {
                let number = payer * PAYMENTS / PAYERS + turn;
                let amount = format!("{}.{:02}", 1 + number % 9, number % 100);
                let bill = json!({ "amount": amount, "account_number": "WIFI-1" });
                let path = format!("/wallets/{}/pay-bill", wallets[number % WALLETS]);
                let (status, payment) = system.post(&system.wallet_api, &path, None, &bill).await;
                assert_eq!(status, 202, "{payment}");
            }
        });
    }
    payers.join_all().await;
}

/// The sum of all paid payments in the wallet database, in hundredths.
async fn paid(system: &System) -> i64 {
    let paid = "select (sum(amount) * 100)::bigint as count from payments where status = 'paid'";
    system.wallet_database.count(paid).await
}

/// The sum that the provider has taken, in hundredths.
async fn taken(system: &System) -> i64 {
    let (mut taken, mut before) = (0, String::new());
    loop {
        let path = format!("/payments?limit=500{before}");
        let page = system.look(&system.provider, &path).await;
        for payment in page["payments"].as_array().unwrap() {
            if payment["status"] == "accepted" {
                let amount = payment["amount"].as_str().unwrap().replace('.', "");
                taken += amount.parse::<i64>().unwrap();
            }
        }
        match page["next_before"].as_u64() {
            Some(next) => before = format!("&before={next}"),
            None => return taken,
        }
    }
}

/// Has the poller remove the mode's slot and connector, which would outlive the test's databases.
pub(crate) async fn leave(system: &mut System, mode: &str) {
    if mode == "poller" {
        return;
    }
    for relay in ["relay-wallet-1", "relay-wallet-2", "relay-bill"] {
        system.kill_9(relay);
    }
    system.set(settings("poller"));
    for relay in ["relay-wallet-1", "relay-bill"] {
        system.start_process(relay);
    }
    for database in [&system.wallet_database, &system.bill_payer_database] {
        let mut conn = database.connect().await;
        eventually("nothing is left of the mode", async || {
            let left = diesel::dsl::sql::<Text>(
                "concat_ws(' ', (select string_agg(slot_name, ' ') from pg_replication_slots \
                 where database = current_database()), (select string_agg(pubname, ' ') from pg_publication))",
            );
            let left: String = diesel::select(left).get_result(&mut conn).await.unwrap();
            if left.is_empty() { Ok(()) } else { Err(left) }
        })
        .await;
    }
}
