//! `lab up`, and the commands to a running system.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};
use testkit::{connect_url, eventually, free_address, unique_prefix};
use tokio::process::Command;

use crate::running::Up;

#[tokio::test(flavor = "multi_thread")]
async fn the_relays_of_the_running_system_go_from_mode_to_mode() {
    let up = Up::on_given_servers().await;
    assert_eq!(up.stack().await["relay_mode"], "poller");
    for mode in ["debezium", "cdc", "poller"] {
        let (switched, said) = up.lab(&["relay", mode]).await;
        assert!(switched, "{mode}: {said}");
        let stack = up.stack().await;
        assert_eq!(stack["relay_mode"], mode);
        assert_eq!(stack["connect_url"].is_string(), mode == "debezium");
        up.pays().await;
        let said = eventually("one relay of the wallet works", async || {
            let (all_are_ready, said) = up.lab(&["status"]).await;
            let works = ["relay-wallet-1   works", "relay-wallet-2   works"];
            let works = works.map(|works| said.contains(works));
            // The poller's relays share the work; of the others, one stands by.
            let is_shared = if mode == "poller" {
                works[0] && works[1]
            } else {
                works[0] != works[1]
            };
            let is_right = all_are_ready && is_shared && said.contains("relay-bill       works");
            if is_right { Ok(said) } else { Err(said) }
        })
        .await;
        assert!(
            said.starts_with(&format!("The page: {}\n", up.lab)),
            "{said}"
        );
        let how = format!("Relay mode {mode}, pay pattern outbox.");
        assert!(said.contains(&how), "{said}");
    }
    let connectors = up.client.get(format!("{}/connectors", connect_url()));
    let connectors: Vec<String> = connectors.send().await.unwrap().json().await.unwrap();
    let prefix = &up
        .environment
        .iter()
        .find(|(name, _)| *name == "TOPIC_PREFIX");
    let ours = |name: &String| prefix.is_some_and(|(_, prefix)| name.starts_with(prefix.as_str()));
    assert!(!connectors.iter().any(ours), "{connectors:?}");

    // Another page in the same browser can send this request.
    let order = up.client.put(format!("{}/api/relay-mode", up.lab));
    let answer = order.json(&json!({ "mode": "cdc" })).send().await.unwrap();
    assert_eq!(answer.status(), 403);
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(problem["type"], "urn:problem:token-required");
    assert_eq!(up.stack().await["relay_mode"], "poller");
}

#[tokio::test]
async fn switching_the_relays_of_nothing_says_what_to_do() {
    let folder = std::env::temp_dir().join(format!("lab-nothing-{}", unique_prefix()));
    let ended = Command::new(env!("CARGO_BIN_EXE_lab"))
        .args(["relay", "cdc"])
        .env("LAB_DIR", &folder)
        .output()
        .await
        .unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(!ended.status.success());
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(
        said.contains("nothing is running: RELAY_MODE=... ./dev up"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_up_on_a_running_system_fails_unless_what_it_asks_for_runs() {
    let up = Up::whole().await;
    let asked = async |up: &Up, extra: &[(&'static str, &str)], arguments: &[&str]| {
        let mut again = up.environment.clone();
        again.retain(|(name, _)| *name != "KAFKA_BROKERS" && *name != "RELAY_MODE");
        again.extend(
            extra
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned())),
        );
        up.lab_with(&again, arguments).await
    };

    // What runs, or what is not asked for, is no difference.
    let (is_fine, said) = asked(
        &up,
        &[("RELAY_MODE", "poller"), ("PAY_PATTERN", "outbox")],
        &["up"],
    )
    .await;
    assert!(is_fine, "{said}");
    assert!(said.starts_with("Already running (pid "), "{said}");
    assert!(said.contains(&format!("The page: {}", up.lab)), "{said}");

    // Anything else is named, in the environment and as a flag, with and without --detach.
    for arguments in [
        &["up", "--lab-port", "9"][..],
        &["up", "--detach", "--lab-port", "9"],
    ] {
        let extra = [
            ("RELAY_MODE", "cdc"),
            ("PAY_PATTERN", "dual-write"),
            ("KAFKA_BROKERS", "other:9092"),
        ];
        let (is_fine, said) = asked(&up, &extra, arguments).await;
        assert!(!is_fine, "{said}");
        for line in [
            "error: the system runs already (pid ",
            "  KAFKA_BROKERS is ",
            ", and other:9092 was asked for\n",
            ", and 9 was asked for\n",
            "  PAY_PATTERN is outbox, and dual-write was asked for\n",
            "  RELAY_MODE is poller, and cdc was asked for: ./dev relay cdc switches it now\n",
            "stop it first: ./dev down\n",
        ] {
            assert!(said.contains(line), "{line}: {said}");
        }
    }

    // The mode that runs is the one of the last switch.
    let (switched, said) = up.lab(&["relay", "cdc"]).await;
    assert!(switched, "{said}");
    let (is_fine, said) = asked(&up, &[("RELAY_MODE", "cdc")], &["up"]).await;
    assert!(is_fine, "{said}");
    let (is_fine, said) = asked(&up, &[("RELAY_MODE", "poller")], &["up"]).await;
    assert!(
        !is_fine && said.contains("RELAY_MODE is cdc, and poller was asked for"),
        "{said}"
    );

    // A running lab is stopped although its processes.json was removed.
    std::fs::remove_file(up.folder.join("processes.json")).unwrap();
    let (is_fine, said) = up.lab(&["status"]).await;
    assert!(
        !is_fine && said.contains("its processes.json was removed"),
        "{said}"
    );
    let (stopped, said) = up.lab(&["down"]).await;
    assert!(stopped && said.contains("Stopping the lab (pid "), "{said}");
}

#[tokio::test]
async fn a_given_server_that_does_not_answer_is_named_before_anything_is_started() {
    let folder = std::env::temp_dir().join(format!("lab-given-{}", unique_prefix()));
    for (variable, value) in [
        ("DATABASE_URL", "postgres://me:secret@127.0.0.1:1"),
        ("KAFKA_BROKERS", "127.0.0.1:1"),
    ] {
        let port = || free_address().rsplit_once(':').unwrap().1.to_owned();
        let ended = Command::new(env!("CARGO_BIN_EXE_lab"))
            .args(["up", "--detach"])
            .envs([
                ("WALLET_API_PORT", port()),
                ("WALLET_API_ADMIN_PORT", port()),
                ("BILL_PAYER_PORT", port()),
                ("MOCK_PROVIDER_PORT", port()),
                ("RELAY_PORT", "27997".to_owned()),
                ("LAB_PORT", port()),
                ("POSTGRES_PORT", port()),
                ("KAFKA_PORT", port()),
                ("KAFKA_CONTROLLER_PORT", port()),
                ("LAB_DIR", folder.display().to_string()),
                (variable, value.to_owned()),
            ])
            .output()
            .await
            .unwrap();
        let said = String::from_utf8([ended.stdout, ended.stderr].concat()).unwrap();
        assert!(!ended.status.success(), "{said}");
        assert!(said.contains("error: nothing was started: no "), "{said}");
        assert!(
            said.contains(variable) && !said.contains("secret"),
            "{said}"
        );
        assert!(!said.contains(" ready "), "{said}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Others may be logged in on this machine, and a superuser of PostgreSQL runs programs.
async fn only_who_reads_our_files_reaches_the_databases(up: &Up) {
    let file = up.folder.join("database-url");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
    let url = std::fs::read_to_string(file).unwrap();
    let url = reqwest::Url::parse(url.trim()).unwrap();
    let password = url.password().unwrap();
    assert!(!up.stack().await.to_string().contains(password));
    chassis::database::connect(url.as_str(), "test")
        .await
        .unwrap();
    for user in ["postgres", "wallet_relay"] {
        let mut guess = url.clone();
        guess.set_username(user).unwrap();
        guess.set_password(None).unwrap();
        let refused = chassis::database::connect(guess.as_str(), "test").await;
        let refused = format!("{:#}", refused.err().unwrap());
        assert!(refused.contains("password"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_deleted_home_is_completed_or_named_and_what_is_lost_is_said() {
    let up = Up::whole().await;
    up.pays().await;
    only_who_reads_our_files_reaches_the_databases(&up).await;
    let data = up.folder.join("kafka/data");
    let again = async || {
        let started = up.lab(&["up", "--detach"]).await;
        assert!(!started.1.contains("Exception"), "{}", started.1);
        started
    };

    // Files that hold no data are recreated, and nothing is lost.
    up.lab(&["down"]).await;
    for file in ["meta.properties", "bootstrap.checkpoint"] {
        std::fs::remove_file(data.join(file)).unwrap();
    }
    for folder in ["logs", "kafka/tmp"] {
        std::fs::remove_dir_all(up.folder.join(folder)).unwrap();
    }
    let (started, said) = again().await;
    assert!(started && !said.contains("is missing"), "{said}");
    let (_, after_ready) = said.split_once("\nReady after ").unwrap();
    let page = format!("The page: {}", up.lab);
    assert_eq!(after_ready.lines().nth(1), Some(page.as_str()));
    up.pays().await;
    let (is_right, said) = up.lab(&["audit"]).await;
    assert!(is_right, "{said}");

    // Damaged data, of which nothing can replace the missing file, is named and not touched.
    up.lab(&["down"]).await;
    for lost in [
        "kafka/data/__cluster_metadata-0",
        "postgres-data/PG_VERSION",
    ] {
        let lost = match lost.strip_prefix("postgres-data/") {
            Some(file) => up.postgres_data().join(file),
            None => up.folder.join(lost),
        };
        let aside = up.folder.join("aside");
        std::fs::rename(&lost, &aside).unwrap();
        let (started, said) = again().await;
        let name = lost.file_name().unwrap().to_str().unwrap();
        let damaged = said.contains("is damaged: ") && said.contains(&format!("{name} is missing"));
        assert!(!started && damaged, "{said}");
        std::fs::rename(&aside, &lost).unwrap();
    }

    // Missing data is recreated empty, and a warning says what is lost.
    std::fs::remove_dir_all(&data).unwrap();
    let (started, said) = again().await;
    assert!(
        started && said.starts_with("Kafka's data is missing, and begins empty"),
        "{said}"
    );
    up.pays().await;
}
