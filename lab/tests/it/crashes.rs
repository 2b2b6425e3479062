//! Promise 5: kill -9 at the worst moment, and the money is right.

use serde_json::json;

use crate::system::System;

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_killed_between_publish_and_delete_publishes_twice_and_pays_once() {
    let mut system = System::start().await;
    system.kill_9("relay-wallet-2");
    let wallet = system.wallet("10").await;
    // The delete of a published row waits for this lock; reading the row does not.
    let in_the_way = system
        .wallet_database
        .in_the_way(
            "create function hold() returns trigger language plpgsql as \
         'begin perform pg_advisory_xact_lock(42); return old; end'; \
         create trigger hold before delete on outbox for each row execute function hold(); \
         commit; begin; select pg_advisory_xact_lock(42)",
        )
        .await;
    let payment = system.accepted(&wallet).await;
    let first = system.wallet_events.next().await;
    system.wallet_database.somebody_waits().await;
    system.kill_9("relay-wallet-1");
    // The server has the statement and would finish it for a client that is gone, so its session is ended
    // first, as a cut network does.
    assert_eq!(system.wallet_database.end_waiting_sessions().await, 1);
    in_the_way.clear().await;
    system.start_process("relay-wallet-1");
    let second = system.wallet_events.next().await;
    assert_eq!(first.header("ce_id"), second.header("ce_id"));
    assert_eq!(first.payload, second.payload);
    assert_eq!(system.ended(&payment).await["status"], "paid");
    let received = system.received(&payment).await;
    assert_eq!(
        received["calls"], 1,
        "the second message found its bill: {received}"
    );
    assert_eq!(system.balance(&wallet).await, "9.00");
    system.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bill_payer_killed_after_the_providers_answer_pays_once() {
    let mut system = System::start().await;
    let wallet = system.wallet("10").await;
    // bill-payer records the provider's response by an update of the bill, which waits for this lock.
    let in_the_way = system
        .bill_payer_database
        .in_the_way(
            "create function hold() returns trigger language plpgsql as \
         'begin perform pg_advisory_xact_lock(42); return new; end'; \
         create trigger hold before update on bills for each row when (new.status = 'paid') \
         execute function hold(); \
         commit; begin; select pg_advisory_xact_lock(42)",
        )
        .await;
    let payment = system.accepted(&wallet).await;
    system.bill_payer_database.somebody_waits().await;
    assert_eq!(system.received(&payment).await["status"], "accepted");
    system.kill_9("bill-payer");
    in_the_way.clear().await;
    system.start_process("bill-payer");
    assert_eq!(system.ended(&payment).await["status"], "paid");
    let received = system.received(&payment).await;
    assert_eq!(
        received["calls"], 2,
        "asked again under the same key: {received}"
    );
    let list = system.look(&system.provider, "/payments").await;
    assert_eq!(list["accepted"], json!(1));
    assert_eq!(system.balance(&wallet).await, "9.00");
    system.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_api_killed_before_it_settles_settles_once() {
    let mut system = System::start().await;
    let wallet = system.wallet("10").await;
    let in_the_way = system
        .wallet_database
        .in_the_way(
            "create function hold() returns trigger language plpgsql as \
         'begin perform pg_advisory_xact_lock(42); return new; end'; \
         create trigger hold before insert on transfers for each row \
         when (new.kind = 'settlement') execute function hold(); \
         commit; begin; select pg_advisory_xact_lock(42)",
        )
        .await;
    let payment = system.accepted(&wallet).await;
    system.wallet_database.somebody_waits().await;
    system.kill_9("wallet-api");
    in_the_way.clear().await;
    system.start_process("wallet-api");
    assert_eq!(system.ended(&payment).await["status"], "paid");
    assert_eq!(system.balance(&wallet).await, "9.00");
    system.assert_settled().await;
}
