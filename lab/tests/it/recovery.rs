//! The tests carry out each procedure of `docs/recovery.md`, and the audit checks the result.

use std::path::PathBuf;

use chassis::kafka;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::types::RDKafkaErrorCode;
use serde_json::{Value, json};
use testkit::{TestDatabase, eventually, kafka_brokers};

use crate::audit::{audit, findings};
use crate::damage::{NO_PATIENCE, execute, found, is_there};
use crate::system::{PARTITIONS, System};

/// A bill that the provider declines.
const CLOSED: &str = "WIFI-CLOSED";

/// The provider answers 500, until [`answers`].
async fn fails(system: &System) {
    let behaviour = json!({ "server_error_share": 1.0, "declined_accounts": [CLOSED] });
    system.behave(&behaviour).await;
}

async fn answers(system: &System) {
    system
        .behave(&json!({ "declined_accounts": [CLOSED] }))
        .await;
}

/// Accepts a payment of a bill that the provider declines, and returns its id.
async fn accepted_closed(system: &System, wallet: &str) -> String {
    let (status, payment) = system.pay(wallet, None, CLOSED).await;
    assert_eq!(status, 202, "{payment}");
    payment["id"].as_str().unwrap().to_owned()
}

async fn has_bill(system: &System, payment: &str) {
    let bill = format!("bills where payment_id = '{payment}'");
    is_there(&system.bill_payer_database, &bill).await;
}

/// Waits until every appended event has been published.
async fn is_published(database: &TestDatabase) {
    eventually("the outbox is empty", async || {
        match database.count("select count(*) from outbox").await {
            0 => Ok(()),
            rows => Err(format!("{rows} rows")),
        }
    })
    .await;
}

/// Runs a command that must succeed.
fn run(system: &System, service: &str, command: &str) -> String {
    let arguments: Vec<&str> = command.split(' ').collect();
    let (well, said) = system.run(service, &arguments);
    assert!(well, "{command}: {said}");
    said
}

/// Waits until the audit finds nothing but `expected`, and no payment is on its way.
async fn audited(system: &System, expected: &[(String, Vec<String>)]) -> Value {
    eventually("the audit finds what is expected", async || {
        let report = audit(system, &[]).await;
        if findings(&report) == expected && report["in_flight"] == 0 {
            Ok(report)
        } else {
            Err(report.to_string())
        }
    })
    .await
}

/// Asserts that the provider has accepted so many payments, each once.
async fn assert_provider_accepted(system: &System, payments: usize) {
    let list = system.look(&system.provider, "/payments").await;
    assert_eq!(list["accepted"], payments, "{list}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_was_lost_anywhere_on_its_way_is_redriven_and_paid_once() {
    let system = System::start().await;
    let wallet = system.wallet("100").await;
    let (wallets, bills) = (&system.wallet_database, &system.bill_payer_database);
    let lose =
        "create function lose() returns trigger language plpgsql as 'begin return null; end'";
    let lose_on = |table: &str| {
        format!("create trigger lose before insert on {table} for each row execute function lose()")
    };
    for database in [wallets, bills] {
        execute(database, lose).await;
    }
    let mut lost = Vec::new();
    // Lost between the database and Kafka, between Kafka and the bill, and between the bill and Kafka.
    for (database, table) in [(wallets, "outbox"), (bills, "bills"), (bills, "outbox")] {
        execute(database, &lose_on(table)).await;
        let payment = system.accepted(&wallet).await;
        found(&system, "lost", &payment, &NO_PATIENCE).await;
        execute(database, &format!("drop trigger lose on {table}")).await;
        lost.push(payment);
    }
    let redrive = format!("payments redrive {} --note audit", lost.join(" "));
    let said = run(&system, "wallet-api", &redrive);
    assert_eq!(said.lines().count(), 3, "{said}");
    for payment in &lost {
        assert_eq!(system.ended(payment).await["status"], "paid");
        assert_eq!(system.received(payment).await["calls"], 1);
    }
    audited(&system, &[]).await;
    assert_provider_accepted(&system, 3).await;
    assert_eq!(system.balance(&wallet).await, "97.00");
    system.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_is_on_its_way_is_redriven_without_harm() {
    let mut system = System::start().await;
    let wallet = system.wallet("100").await;
    fails(&system).await;
    let in_progress = system.accepted(&wallet).await;
    has_bill(&system, &in_progress).await;
    is_published(&system.wallet_database).await;
    for relay in ["relay-wallet-1", "relay-wallet-2"] {
        system.kill_9(relay);
    }
    let parked = system.accepted(&wallet).await;
    let park = "insert into parked_events (aggregateid, seq, reason) select aggregateid, seq, 'no' from outbox";
    execute(&system.wallet_database, park).await;
    for _ in 0..2 {
        let said = run(&system, "wallet-api", "payments redrive --pending-for 0s");
        assert_eq!(said, "2 are on their way again.\n");
    }
    assert_eq!(
        system
            .wallet_database
            .count("select count(*) from outbox")
            .await,
        5
    );
    system.start_process("relay-wallet-1");
    let replay = "update parked_events set replay_requested_at = now()";
    execute(&system.wallet_database, replay).await;
    is_published(&system.wallet_database).await;
    answers(&system).await;
    for payment in [&in_progress, &parked] {
        assert_eq!(system.ended(payment).await["status"], "paid");
    }
    audited(&system, &[]).await;
    assert_provider_accepted(&system, 2).await;
    assert_eq!(system.balance(&wallet).await, "98.00");
    let (well, said) = system.run("wallet-api", &["payments", "redrive", &parked]);
    assert!(!well && said.contains("is paid, not pending"), "{said}");
    system.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
#[expect(
    clippy::too_many_lines,
    reason = "the procedure of docs/recovery.md, step by step"
)]
async fn a_wallet_database_that_was_restored_from_a_backup_gets_its_payments_back() {
    let mut system = System::start().await;
    let (wallet, poor) = (system.wallet("100").await, system.wallet("1").await);
    answers(&system).await;
    let before = system.accepted(&wallet).await;
    system.ended(&before).await;
    // A backup in mid-flight: one payment is with the bill payer, one is in the outbox.
    fails(&system).await;
    let in_progress = system.accepted(&wallet).await;
    has_bill(&system, &in_progress).await;
    for relay in ["relay-wallet-1", "relay-wallet-2"] {
        system.kill_9(relay);
    }
    let in_outbox = system.accepted(&wallet).await;
    let backup = system.wallet_database.dump();

    // The system works on after the backup.
    for relay in ["relay-wallet-1", "relay-wallet-2"] {
        system.start_process(relay);
    }
    answers(&system).await;
    let (_, march) = system.pay(&wallet, Some("march"), "WIFI-1").await;
    let march = march["id"].as_str().unwrap().to_owned();
    let refunded = accepted_closed(&system, &wallet).await;
    // The second payment uses the money that the first one's refund returned.
    let gave_back = accepted_closed(&system, &poor).await;
    assert_eq!(system.ended(&gave_back).await["status"], "refunded");
    let made_of_it = system.accepted(&poor).await;
    let paid = [&before, &in_progress, &in_outbox, &march, &made_of_it];
    for payment in paid {
        assert_eq!(system.ended(payment).await["status"], "paid");
    }
    system.ended(&refunded).await;

    // The disaster.
    for name in ["wallet-api", "relay-wallet-1", "relay-wallet-2"] {
        system.kill_9(name);
    }
    system.wallet_database.restore(&backup).await;

    // The procedure.
    let recover = "payments recover --since 1h --note restored";
    let arguments: Vec<&str> = recover.split(' ').collect();
    let (well, said) = system.run("wallet-api", &arguments);
    assert!(
        !well && said.contains("3 were booked, INR 3.00; 3 were there already; 1 do not fit."),
        "{said}"
    );
    let misfit = format!("{made_of_it}  {poor}  INR 1.00  the wallet holds INR 0.00");
    assert!(said.contains(&misfit), "{said}");
    run(&system, "wallet-api", "results replay --since 1h");
    let said = run(&system, "wallet-api", recover);
    assert!(
        said.contains("1 were booked, INR 1.00; 6 were there already; 0 do not fit."),
        "{said}"
    );
    let retry = ["dead-letters", "retry", "--reason", "no pending payment"];
    let (well, said) = system.run("wallet-api", &retry);
    assert!(
        well && said.contains("1 were taken, 0 were refused"),
        "{said}"
    );
    for name in ["wallet-api", "relay-wallet-1", "relay-wallet-2"] {
        system.start_process(name);
    }
    system.ready(&system.wallet_api_admin).await;

    for payment in paid {
        assert_eq!(system.ended(payment).await["status"], "paid");
    }
    for payment in [&refunded, &gave_back] {
        assert_eq!(system.ended(payment).await["status"], "refunded");
    }
    assert_eq!(system.balance(&wallet).await, "96.00");
    assert_eq!(system.balance(&poor).await, "0.00");
    audited(&system, &[]).await;
    assert_provider_accepted(&system, 5).await;
    // A client that repeats its request pays once.
    let (status, again) = system.pay(&wallet, Some("march"), "WIFI-1").await;
    assert_eq!(
        (status, again["id"].as_str()),
        (202, Some(march.as_str())),
        "{again}"
    );
    assert_eq!(system.balance(&wallet).await, "96.00");
    // The numbers of the outbox begin again, and nothing is out of order.
    let after = system.accepted(&wallet).await;
    assert_eq!(system.ended(&after).await["status"], "paid");
    system.assert_settled().await;
    audited(&system, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bill_payer_database_that_was_restored_from_a_backup_gets_its_bills_back() {
    let mut system = System::start().await;
    let wallet = system.wallet("100").await;
    let before = system.accepted(&wallet).await;
    system.ended(&before).await;
    fails(&system).await;
    let in_progress = system.accepted(&wallet).await;
    has_bill(&system, &in_progress).await;
    let backup = system.bill_payer_database.dump();

    answers(&system).await;
    let later = system.accepted(&wallet).await;
    for payment in [&in_progress, &later] {
        system.ended(payment).await;
    }
    fails(&system).await;
    let pending = system.accepted(&wallet).await;
    has_bill(&system, &pending).await;

    for name in ["bill-payer", "relay-bill"] {
        system.kill_9(name);
    }
    system.bill_payer_database.restore(&backup).await;
    answers(&system).await;
    for name in ["bill-payer", "relay-bill"] {
        system.start_process(name);
    }
    system.ready(&system.bill_payer_api).await;
    let said = run(&system, "wallet-api", "payments redrive --pending-for 0s");
    assert_eq!(said, "1 are on their way again.\n");

    for payment in [&before, &in_progress, &later, &pending] {
        assert_eq!(system.ended(payment).await["status"], "paid");
    }
    // bill-payer asked again for the unfinished bill of the backup, and its result came again.
    let again = format!("bills where payment_id = '{in_progress}' and status = 'paid'");
    is_there(&system.bill_payer_database, &again).await;
    is_published(&system.bill_payer_database).await;
    assert_provider_accepted(&system, 4).await;
    assert_eq!(system.balance(&wallet).await, "96.00");
    let letters = run(&system, "wallet-api", "dead-letters list");
    assert_eq!(letters, "There are none.\n");
    system.assert_settled().await;
    audited(&system, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_only_in_a_kafka_that_is_lost_is_redriven() {
    let mut system = System::start().await;
    let wallet = system.wallet("100").await;
    let before = system.accepted(&wallet).await;
    system.ended(&before).await;
    // A result and a request that only Kafka has.
    system.kill_9("relay-bill");
    let paid = system.accepted(&wallet).await;
    is_there(&system.bill_payer_database, "outbox").await;
    system.kill_9("bill-payer");
    let requested = system.accepted(&wallet).await;
    is_published(&system.wallet_database).await;
    system.kill_9("wallet-api");
    system.start_process("relay-bill");
    is_published(&system.bill_payer_database).await;
    for relay in ["relay-wallet-1", "relay-wallet-2", "relay-bill"] {
        system.kill_9(relay);
    }

    let topics = [
        events::WALLET_TOPIC,
        events::BILL_TOPIC,
        events::COMMAND_TOPIC,
    ]
    .map(|topic| format!("{}{topic}", system.prefix));
    let groups = ["bill-payer", "wallet-api", "wallet-api-commands"]
        .map(|group| format!("{}{group}", system.prefix));
    lose_kafka(
        &topics.each_ref().map(String::as_str),
        &groups.each_ref().map(String::as_str),
    )
    .await;

    for name in [
        "wallet-api",
        "bill-payer",
        "relay-wallet-1",
        "relay-wallet-2",
        "relay-bill",
    ] {
        system.start_process(name);
    }
    for address in [&system.wallet_api_admin, &system.bill_payer_api] {
        system.ready(address).await;
    }
    let said = run(&system, "wallet-api", "payments redrive --pending-for 0s");
    assert_eq!(said, "2 are on their way again.\n");
    for payment in [&before, &paid, &requested] {
        assert_eq!(system.ended(payment).await["status"], "paid");
        assert_eq!(system.received(payment).await["calls"], 1);
    }
    audited(&system, &[]).await;
    assert_eq!(system.balance(&wallet).await, "97.00");
    system.assert_settled().await;
}

/// Deletes topics and groups, and recreates the topics.
async fn lose_kafka(topics: &[&str], groups: &[&str]) {
    let admin: AdminClient<DefaultClientContext> =
        kafka::client(kafka_brokers(), "test").create().unwrap();
    let options = AdminOptions::new();
    // Killed members leave their groups when their sessions end.
    for group in groups {
        eventually("the group is deleted", async || {
            let deleted = admin.delete_groups(&[group], &options).await;
            match deleted.unwrap().pop().unwrap() {
                Ok(_) | Err((_, RDKafkaErrorCode::GroupIdNotFound)) => Ok(()),
                Err((_, code)) => Err(code.to_string()),
            }
        })
        .await;
    }
    let deleted = admin.delete_topics(topics, &options).await.unwrap();
    assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
    eventually("the topics are recreated", async || {
        let created = kafka::create_topics(&kafka_brokers(), topics, PARTITIONS, 1).await;
        created.map_err(|error| format!("{error:#}"))?;
        let metadata = admin
            .inner()
            .fetch_metadata(Some(topics[0]), std::time::Duration::from_secs(10));
        match metadata.unwrap().topics()[0].partitions().len() {
            0 => Err("not yet".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_has_forgotten_payments_is_asked_for_none_of_those_that_have_ended() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let journal = folder.join(format!("{}journal", testkit::unique_prefix()));
    let setting = journal.display().to_string();
    let mut system = System::start_with(vec![("mock-provider", "PROVIDER_JOURNAL", setting)]).await;
    let wallet = system.wallet("100").await;
    let before = system.accepted(&wallet).await;
    system.ended(&before).await;
    let copy = std::fs::read(&journal).unwrap();
    let forgotten = system.accepted(&wallet).await;
    let receipt = system.ended(&forgotten).await["receipt"].clone();
    fails(&system).await;
    let pending = system.accepted(&wallet).await;
    has_bill(&system, &pending).await;

    // A call to a provider that has forgotten would pay twice: nobody calls it until its journal is back.
    system.kill_9("mock-provider");
    system.kill_9("bill-payer");
    std::fs::write(&journal, copy).unwrap();
    system.start_process("mock-provider");
    system.ready(&system.provider).await;
    let expected = [("paid_not_at_provider".to_owned(), vec![forgotten.clone()])];
    found(&system, "paid_not_at_provider", &forgotten, &[]).await;
    let shown = run(&system, "bill-payer", &format!("bills show {forgotten}"));
    assert!(shown.contains(receipt.as_str().unwrap()), "{shown}");

    system.start_process("bill-payer");
    system.ready(&system.bill_payer_api).await;
    assert_eq!(system.ended(&pending).await["status"], "paid");
    audited(&system, &expected).await;
    // One payment from before and one pending one: the forgotten one was not requested again.
    assert_provider_accepted(&system, 2).await;
    assert_eq!(system.balance(&wallet).await, "97.00");
    system.assert_settled().await;
    std::fs::remove_file(journal).unwrap();
}
