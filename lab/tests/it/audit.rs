//! What `lab audit` says of a healthy system, of one that is working, and of one that cannot be reached.

use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};
use testkit::free_address;
use tokio::process::Command;

use crate::system::System;

/// Runs a command of the lab on the system.
pub(crate) async fn lab(system: &System, arguments: &[&str]) -> Output {
    lab_with(system, arguments, &[]).await
}

/// The same, with other settings than the system's.
async fn lab_with(system: &System, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let provider = format!("http://{}", system.provider);
    Command::new(env!("CARGO_BIN_EXE_lab"))
        .args(arguments)
        .env("LAB_DIR", env!("CARGO_TARGET_TMPDIR"))
        .env("WALLET_DATABASE_URL", system.wallet_database.url())
        .env("BILL_PAYER_DATABASE_URL", system.bill_payer_database.url())
        .env("KAFKA_BROKERS", &system.brokers)
        .env("TOPIC_PREFIX", &system.prefix)
        .env("PROVIDER_URL", &provider)
        .envs(environment.iter().copied())
        .output()
        .await
        .unwrap()
}

/// Returns the report of `lab audit --json`; the exit code says whether anything is wrong.
pub(crate) async fn audit(system: &System, arguments: &[&str]) -> Value {
    audit_with(system, arguments, &[]).await
}

/// The same, with other settings than the system's.
pub(crate) async fn audit_with(
    system: &System,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> Value {
    let arguments = [&["audit", "--json"], arguments].concat();
    let output = lab_with(system, &arguments, environment).await;
    let report = serde_json::from_slice(&output.stdout);
    assert!(report.is_ok(), "{output:?}");
    let report: Value = report.unwrap();
    let code = i32::from(!findings(&report).is_empty());
    assert_eq!(output.status.code(), Some(code), "{report}");
    report
}

/// The findings that are not empty: kind and examples.
pub(crate) fn findings(report: &Value) -> Vec<(String, Vec<String>)> {
    let kinds = report["findings"].as_array().unwrap();
    assert_eq!(kinds.len(), 11, "every kind is listed");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    kinds
        .iter()
        .filter(|finding| finding["count"] != 0)
        .map(|finding| {
            let examples = finding["examples"].as_array().unwrap();
            (text(&finding["kind"]), examples.iter().map(text).collect())
        })
        .collect()
}

/// The finding of that kind.
pub(crate) fn finding<'a>(report: &'a Value, kind: &str) -> &'a Value {
    let mut kinds = report["findings"].as_array().unwrap().iter();
    kinds.find(|finding| finding["kind"] == kind).unwrap()
}

/// The time of the payment's request, read from its id.
pub(crate) fn time_of(payment: &str) -> String {
    let id: uuid::Uuid = payment.parse().unwrap();
    let (seconds, nanos) = id.get_timestamp().unwrap().to_unix();
    let time = chrono::DateTime::from_timestamp(seconds.try_into().unwrap(), nanos);
    time.unwrap().to_rfc3339()
}

/// The printed report without the parts that differ from run to run.
fn steady(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().filter(|line| !line.starts_with('('));
    let lines = lines.map(|line| line.split("  half within").next().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn after_payments_that_were_paid_and_refunded_nothing_is_wrong() {
    let system = System::start().await;
    system
        .behave(&json!({ "declined_accounts": ["WIFI-CLOSED"], "server_error_share": 0.2 }))
        .await;
    let mut payments = Vec::new();
    for _ in 0..3 {
        let wallet = system.wallet("100").await;
        for account in ["WIFI-1", "WIFI-CLOSED", "WIFI-2", "WIFI-3"] {
            let (_, payment) = system.pay(&wallet, None, account).await;
            payments.push(payment["id"].as_str().unwrap().to_owned());
        }
    }
    for payment in &payments {
        system.ended(payment).await;
    }
    let output = lab(&system, &["audit"]).await;
    assert!(output.status.success());
    insta::assert_snapshot!(steady(&output), @r"
      accepted               12
      in flight               0
      paid                    9
      refunded                3
      declined                0
      LOST                    0
      PAID TWICE              0
      REFUNDED THOUGH PAID    0
      PAID, NOT AT PROVIDER   0
      AT PROVIDER, NOT HERE   0
      NOT IN THE WALLET       0
      DIFFERS                 0
      STUCK                   0
      OUT OF ORDER            0
      UNBALANCED              0
      BALANCE DIFFERS         0
    Nothing is wrong.
    ");
    let report = audit(&system, &[]).await;
    assert_eq!(report["read"]["bills"], 12, "{report}");
    assert_eq!(report["read"]["provider_payments"], 12, "{report}");
    assert!(
        report["paid_after"]["p99_ms"].as_u64() > Some(0),
        "{report}"
    );

    // A scope counts the payments that were accepted since its beginning, and no others.
    let later = system.accepted(&system.wallet("1").await).await;
    system.ended(&later).await;
    let report = audit(&system, &["--since", &time_of(&later)]).await;
    let seen = [&report["accepted"], &report["paid"], &report["in_flight"]];
    assert_eq!(seen, [1, 1, 0], "{report}");
}

/// Audits while payments are made and while processes are killed: unfinished work is not damage.
#[tokio::test(flavor = "multi_thread")]
async fn audits_of_a_system_at_work_raise_no_false_alarm() {
    let mut system = System::start().await;
    system
        .behave(&json!({ "server_error_share": 0.2, "decline_share": 0.1 }))
        .await;
    let mut wallets = Vec::new();
    for _ in 0..10 {
        wallets.push(system.wallet("10000").await);
    }
    let wallets = Arc::new(wallets);
    let (stop, made) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut payers = tokio::task::JoinSet::new();
    for payer in 0..8 {
        let (wallets, stop, made) = (Arc::clone(&wallets), Arc::clone(&stop), Arc::clone(&made));
        let (client, wallet_api) = (system.client.clone(), system.wallet_api.clone());
        payers.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let turn = made.fetch_add(1, Ordering::Relaxed);
                let wallet = &wallets[(payer + turn) % wallets.len()];
                let bill = json!({ "amount": "1", "account_number": "WIFI-1" });
                let url = format!("http://{wallet_api}/wallets/{wallet}/pay-bill");
                let answer = client.post(url).json(&bill).send().await.unwrap();
                assert_eq!(answer.status(), 202);
            }
        });
    }
    let first = system.accepted(&wallets[0]).await;
    let since = time_of(&first);
    let since = ["--since", since.as_str()];
    for (turn, killed) in [
        "relay-wallet-1",
        "bill-payer",
        "relay-bill",
        "relay-wallet-2",
    ]
    .into_iter()
    .enumerate()
    {
        for scope in [&[] as &[&str], &since] {
            let report = audit(&system, scope).await;
            assert_eq!(findings(&report), [], "round {turn}: {report}");
        }
        system.kill_9(killed);
        let report = audit(&system, &[]).await;
        assert_eq!(findings(&report), [], "{killed} was killed: {report}");
        system.start_process(killed);
    }
    stop.store(true, Ordering::Relaxed);
    payers.join_all().await;
    testkit::eventually("every payment has ended, and none is missing", async || {
        let report = audit(&system, &[]).await;
        assert_eq!(findings(&report), [], "{report}");
        let ended = report["paid"].as_u64().unwrap() + report["refunded"].as_u64().unwrap();
        let all = u64::try_from(made.load(Ordering::Relaxed) + 1).unwrap();
        if report["accepted"] == all && ended == all {
            Ok(())
        } else {
            Err(report.to_string())
        }
    })
    .await;
    system.assert_settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_answer_is_named() {
    let system = System::start().await;
    let nobody = free_address();
    let database = format!("postgres://me:secret@{nobody}/wallet");
    let provider = format!("http://{nobody}");
    for (variable, value, expected) in [
        (
            "WALLET_DATABASE_URL",
            &database,
            "PostgreSQL does not answer for the wallet database",
        ),
        (
            "BILL_PAYER_DATABASE_URL",
            &database,
            "PostgreSQL does not answer for bill-payer's database",
        ),
        ("KAFKA_BROKERS", &nobody, "Kafka does not tell of"),
        ("PROVIDER_URL", &provider, "the provider does not answer at"),
    ] {
        let output = lab_with(&system, &["audit"], &[(variable, value)]).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(expected), "{said}");
        assert!(said.contains("./dev up"), "{said}");
        assert!(said.contains(&nobody), "{said}");
        assert!(!said.contains("secret"), "{said}");
    }
}
