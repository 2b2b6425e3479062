//! `lab up`, and what the running system is told to do.

use serde_json::{Value, json};
use testkit::{connect_url, unique_prefix};
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
        let (all_are_ready, said) = up.lab(&["status"]).await;
        assert!(all_are_ready, "{mode}: {said}");
    }
    let connectors = up.client.get(format!("{}/connectors", connect_url()));
    let connectors: Vec<String> = connectors.send().await.unwrap().json().await.unwrap();
    let prefix = &up
        .environment
        .iter()
        .find(|(name, _)| *name == "TOPIC_PREFIX");
    let ours = |name: &String| prefix.is_some_and(|(_, prefix)| name.starts_with(prefix.as_str()));
    assert!(!connectors.iter().any(ours), "{connectors:?}");

    // Another page in the same browser can send this.
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
