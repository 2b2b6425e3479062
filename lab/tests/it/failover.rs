//! Failovers under load, of the whole system: every payment that was accepted ends, once, and the audit finds nothing.
//!
//! They take minutes and some gigabytes of memory, so they run by name: `./dev test failover`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use testkit::{KafkaCluster, PostgresServer, Stop, eventually, free_address};
use tokio::task::JoinSet;

use crate::audit::{audit, findings};
use crate::faults::{leave, settings};
use crate::system::{Servers, System, bill_payer_migrations, wallet_migrations};

const PAYERS: usize = 8;
const WALLETS: usize = 10;

/// Between two payments of a payer: a load that a small machine carries on the side.
const PACE: Duration = Duration::from_millis(50);

/// Payments between two faults.
const BETWEEN_FAULTS: usize = 200;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs by name: ./dev test failover"]
async fn in_mode_poller_a_failover_of_postgresql_loses_no_payment() {
    postgresql_fails_over("poller").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs by name: ./dev test failover"]
async fn in_mode_cdc_a_failover_of_postgresql_loses_no_payment() {
    postgresql_fails_over("cdc").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs by name: ./dev test failover"]
async fn in_mode_debezium_a_failover_of_postgresql_loses_no_payment() {
    postgresql_fails_over("debezium").await;
}

async fn postgresql_fails_over(mode: &str) {
    let (mut primary, standby) = PostgresServer::start_with_standby(&["wal_level = logical"]).await;
    let servers = Servers {
        wallet_database: primary.database_with(&standby, wallet_migrations()).await,
        bill_payer_database: primary
            .database_with(&standby, bill_payer_migrations())
            .await,
        ..Servers::of_the_tests().await
    };
    // Before 17 the stream of a slot can be ahead of a synchronous standby (docs/operations.md).
    assert!(
        mode == "poller" || primary.version() >= 17,
        "PG_VERSION=17 ./dev test failover"
    );
    let mut system = System::start_on(servers, settings(mode)).await;
    let load = Load::begin(&system, vec![system.wallet_api.clone()]).await;
    load.more_payments().await;
    load.more_are_paid(&system).await;
    primary.stop(Stop::Immediate).await;
    standby.promote().await;
    load.more_payments().await;
    load.all_end_well(&system).await;
    nothing_is_parked(&system).await;
    leave(&mut system, mode).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs by name: ./dev test failover"]
async fn a_leader_and_then_another_broker_are_killed_and_no_payment_is_lost() {
    let mut kafka = KafkaCluster::start().await;
    let system = on(&kafka).await;
    let topic = format!("{}{}", system.prefix, events::WALLET_TOPIC);
    let load = Load::begin(&system, vec![system.wallet_api.clone()]).await;
    load.more_payments().await;
    let leader = kafka.leader(&topic).await;
    kafka.kill_9(leader);
    load.more_payments().await;
    // Two replicas are enough: what was accepted since then is published and paid.
    load.more_are_paid(&system).await;

    let other = leader % 3 + 1;
    kafka.kill_9(other);
    // One is not: payments are accepted, and their events wait.
    load.more_payments().await;
    events_wait(&system).await;
    kafka.run(other);
    load.more_are_paid(&system).await;
    kafka.run(leader);
    kafka.is_in_sync(&topic).await;
    load.all_end_well(&system).await;
    nothing_is_parked(&system).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs by name: ./dev test failover"]
async fn a_rolling_restart_of_kafka_loses_no_payment() {
    let mut kafka = KafkaCluster::start().await;
    let system = on(&kafka).await;
    let topic = format!("{}{}", system.prefix, events::WALLET_TOPIC);
    let load = Load::begin(&system, vec![system.wallet_api.clone()]).await;
    for broker in 1..=3 {
        load.more_payments().await;
        kafka.stop(broker).await;
        load.more_payments().await;
        kafka.run(broker);
        for topic in [topic.as_str(), "__consumer_offsets"] {
            kafka.is_in_sync(topic).await;
        }
    }
    load.all_end_well(&system).await;
    nothing_is_parked(&system).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs by name: ./dev test failover"]
async fn of_three_instances_of_each_service_one_is_killed_at_a_time_and_no_payment_is_lost() {
    let [second, third] = [free_address(), free_address()];
    let [second_admin, third_admin] = [free_address(), free_address()];
    let settings = vec![
        ("wallet-api-2", "LISTEN", second.clone()),
        ("wallet-api-2", "ADMIN_LISTEN", second_admin.clone()),
        ("wallet-api-3", "LISTEN", third.clone()),
        ("wallet-api-3", "ADMIN_LISTEN", third_admin.clone()),
        ("bill-payer-2", "ADMIN_LISTEN", free_address()),
        ("bill-payer-3", "ADMIN_LISTEN", free_address()),
    ];
    let mut system = System::start_with(settings).await;
    for name in [
        "wallet-api-2",
        "wallet-api-3",
        "bill-payer-2",
        "bill-payer-3",
    ] {
        system.start_process(name);
    }
    for address in [&second_admin, &third_admin] {
        system.ready(address).await;
    }
    let load = Load::begin(&system, vec![system.wallet_api.clone(), second, third]).await;
    for name in [
        "wallet-api",
        "bill-payer",
        "wallet-api-2",
        "bill-payer-2",
        "wallet-api-3",
        "bill-payer-3",
    ] {
        load.more_payments().await;
        system.kill_9(name);
        load.more_payments().await;
        load.more_are_paid(&system).await;
        system.start_process(name);
    }
    load.all_end_well(&system).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_of_every_service_fails_no_request_and_loses_no_payment() {
    every_service_is_replaced(PathBuf::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the programs of another commit: ./dev test upgrade"]
async fn a_rolling_upgrade_fails_no_request_and_loses_no_payment() {
    every_service_is_replaced(testkit::former_programs()).await;
}

/// One instance after the other, consumers first, by the programs of this commit; those that run at first are in the folder
/// `programs`. The databases are migrated already.
async fn every_service_is_replaced(programs: PathBuf) {
    let [second, second_admin] = [free_address(), free_address()];
    let settings = vec![
        ("wallet-api-2", "LISTEN", second.clone()),
        ("wallet-api-2", "ADMIN_LISTEN", second_admin.clone()),
        ("wallet-api", "HTTP_DRAIN_MS", "1000".to_owned()),
        ("bill-payer-2", "ADMIN_LISTEN", free_address()),
    ];
    let servers = Servers {
        programs,
        ..Servers::of_the_tests().await
    };
    let mut system = System::start_on(servers, settings).await;
    for name in ["wallet-api-2", "bill-payer-2"] {
        system.start_process(name);
    }
    system.ready(&second_admin).await;
    system.programs = PathBuf::new();
    let first = (system.wallet_api.clone(), system.wallet_api_admin.clone());
    let instances = vec![first, (second, second_admin)];
    let load = Load::begin_balanced(&system, instances.clone()).await;
    for name in [
        "bill-payer",
        "bill-payer-2",
        "relay-wallet-1",
        "relay-wallet-2",
        "relay-bill",
        "wallet-api",
        "wallet-api-2",
    ] {
        load.more_payments().await;
        system.stop(name).await;
        load.more_payments().await;
        system.start_process(name);
        // As an orchestrator does: the next one when this one is ready.
        for (_, health) in &instances {
            system.ready(health).await;
        }
        load.more_are_paid(&system).await;
    }
    assert_eq!(load.failed.load(Ordering::Relaxed), 0, "failed requests");
    load.all_end_well(&system).await;
}

async fn on(kafka: &KafkaCluster) -> System {
    let servers = Servers {
        brokers: kafka.brokers(),
        replicas: 3,
        ..Servers::of_the_tests().await
    };
    System::start_on(servers, Vec::new()).await
}

async fn events_wait(system: &System) {
    eventually("events wait in the outbox", async || {
        match system
            .wallet_database
            .count("select count(*) from outbox")
            .await
        {
            0 => Err("none does".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
}

async fn nothing_is_parked(system: &System) {
    for database in [&system.wallet_database, &system.bill_payer_database] {
        assert_eq!(
            database.count("select count(*) from parked_events").await,
            0
        );
    }
}

/// Customers who pay and, when a payment gets no answer, repeat it under the same key until it is accepted.
struct Load {
    enough: Arc<AtomicBool>,
    accepted: Arc<AtomicUsize>,
    /// Requests without an answer, or with another one than 202 and 503.
    failed: Arc<AtomicUsize>,
    payers: JoinSet<()>,
}

impl Load {
    /// Pays at each of the addresses in turn.
    async fn begin(system: &System, addresses: Vec<String>) -> Self {
        let instances = addresses.into_iter().map(|address| (address, None));
        Self::begin_at(system, instances.collect()).await
    }

    /// The same, behind a load balancer: an instance whose `/readyz`, at its second address, does not succeed gets nothing.
    async fn begin_balanced(system: &System, instances: Vec<(String, String)>) -> Self {
        let instances = instances.into_iter();
        let instances = instances.map(|(address, health)| (address, Some(health)));
        Self::begin_at(system, instances.collect()).await
    }

    async fn begin_at(system: &System, instances: Vec<(String, Option<String>)>) -> Self {
        let mut wallets = Vec::new();
        for _ in 0..WALLETS {
            wallets.push(system.wallet("100000").await);
        }
        let (wallets, instances) = (Arc::new(wallets), Arc::new(instances));
        let mut load = Self {
            enough: Arc::default(),
            accepted: Arc::default(),
            failed: Arc::default(),
            payers: JoinSet::new(),
        };
        for payer in 0..PAYERS {
            let (wallets, instances) = (Arc::clone(&wallets), Arc::clone(&instances));
            let (enough, accepted) = (Arc::clone(&load.enough), Arc::clone(&load.accepted));
            let failed = Arc::clone(&load.failed);
            let client = system.client.clone();
            load.payers.spawn(async move {
                let mut pace = tokio::time::interval(PACE);
                let mut turn = payer;
                let mut payment = 0;
                while !enough.load(Ordering::Relaxed) {
                    pace.tick().await;
                    turn += 1;
                    let (address, health) = &instances[turn % instances.len()];
                    if let Some(health) = health {
                        let ready = client.get(format!("http://{health}/readyz")).send().await;
                        if !ready.is_ok_and(|ready| ready.status().is_success()) {
                            continue;
                        }
                    }
                    let wallet = &wallets[(payer + payment) % wallets.len()];
                    let url = format!("http://{address}/wallets/{wallet}/pay-bill");
                    let answer = client
                        .post(url)
                        .header("idempotency-key", format!("payer-{payer}-{payment}"))
                        .json(&json!({ "amount": "1", "account_number": "WIFI-1" }))
                        .send()
                        .await;
                    match answer {
                        Ok(answer) if answer.status() == 202 => {
                            accepted.fetch_add(1, Ordering::Relaxed);
                            payment += 1;
                        }
                        Ok(answer) if answer.status() == 503 => {}
                        Ok(answer) => {
                            assert!(answer.status().is_server_error(), "{answer:?}");
                            failed.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(_) => {
                            failed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
        load
    }

    /// Waits until that many more are accepted.
    async fn more_payments(&self) {
        let before = self.accepted.load(Ordering::Relaxed);
        eventually("more payments are accepted", async || {
            match self.accepted.load(Ordering::Relaxed) - before {
                BETWEEN_FAULTS.. => Ok(()),
                accepted => Err(format!("{accepted} were")),
            }
        })
        .await;
    }

    /// Waits until what is accepted by now, or as many others, are paid.
    async fn more_are_paid(&self, system: &System) {
        let accepted = self.accepted.load(Ordering::Relaxed);
        eventually("what was accepted is paid", async || {
            let paid = "select count(*) from payments where status = 'paid'";
            match usize::try_from(system.wallet_database.count(paid).await).unwrap() {
                paid if paid >= accepted => Ok(()),
                paid => Err(format!("{paid} of {accepted} are")),
            }
        })
        .await;
    }

    /// Ends the load, and waits until every payment has ended: the audit finds nothing, and none that was accepted is
    /// missing.
    async fn all_end_well(self, system: &System) {
        let Self {
            enough,
            accepted,
            payers,
            ..
        } = self;
        enough.store(true, Ordering::Relaxed);
        payers.join_all().await;
        let pending = "select count(*) from payments where status = 'pending'";
        eventually("no payment is pending", async || {
            match system.wallet_database.count(pending).await {
                0 => Ok(()),
                pending => Err(format!("{pending} are")),
            }
        })
        .await;
        system.assert_settled().await;
        let report = audit(system, &[]).await;
        assert_eq!(findings(&report), [], "{report}");
        let paid = usize::try_from(report["paid"].as_u64().unwrap()).unwrap();
        // One whose answer was lost at the end was accepted, too.
        let accepted = accepted.load(Ordering::Relaxed);
        assert!(
            (accepted..=accepted + PAYERS).contains(&paid),
            "{accepted}: {report}"
        );
    }
}
