//! `lab up` on servers that are given, and what the running system is told to do.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{connect_url, eventually, free_address, kafka_brokers, server_url, unique_prefix};
use tokio::process::Command;

/// A system that runs until the end of the test.
struct Up {
    folder: PathBuf,
    environment: Vec<(&'static str, String)>,
    lab: String,
    client: reqwest::Client,
}

impl Up {
    async fn start() -> Self {
        let prefix = unique_prefix();
        let port = || {
            let address = free_address();
            address.rsplit(':').next().unwrap().to_owned()
        };
        let folder = std::env::temp_dir().join(format!("lab-up-{prefix}"));
        let lab_port = port();
        let environment = vec![
            ("LAB_DIR", folder.display().to_string()),
            ("DATABASE_URL", server_url()),
            ("KAFKA_BROKERS", kafka_brokers()),
            ("CONNECT_URL", connect_url()),
            ("TOPIC_PREFIX", prefix),
            ("WALLET_API_PORT", port()),
            ("BILL_PAYER_PORT", port()),
            ("MOCK_PROVIDER_PORT", port()),
            // Three, one behind the other.
            (
                "RELAY_PORT",
                (28_000 + std::process::id() % 1_000 * 3).to_string(),
            ),
            ("LAB_PORT", lab_port.clone()),
        ];
        let up = Self {
            folder,
            environment,
            lab: format!("http://127.0.0.1:{lab_port}"),
            client: reqwest::Client::builder()
                .timeout(Duration::from_secs(60))
                .build()
                .unwrap(),
        };
        let (started, said) = up.lab(&["up", "--detach"]).await;
        assert!(started, "{said}");
        up
    }

    /// Runs a command of the lab; answers whether it succeeded, and what it said.
    async fn lab(&self, arguments: &[&str]) -> (bool, String) {
        let ended = Command::new(env!("CARGO_BIN_EXE_lab"))
            .args(arguments)
            .envs(self.environment.clone())
            .output()
            .await
            .unwrap();
        let said = [ended.stdout, ended.stderr].concat();
        (ended.status.success(), String::from_utf8(said).unwrap())
    }

    async fn stack(&self) -> Value {
        let answer = self.client.get(format!("{}/stack", self.lab)).send().await;
        answer.unwrap().json().await.unwrap()
    }

    /// Pays a bill and waits until it is paid.
    async fn pays(&self) {
        let wallet_api = self.stack().await["wallet_api"]
            .as_str()
            .unwrap()
            .to_owned();
        let wallets = format!("{wallet_api}/wallets");
        let wallet = json!({ "currency": "INR", "opening_balance": "10.00" });
        let wallet: Value = self.post(&wallets, &wallet).await;
        let bill = json!({ "amount": "1.00", "account_number": "WIFI-1" });
        let pay = format!("{wallets}/{}/pay-bill", wallet["id"].as_str().unwrap());
        let payment = self.post(&pay, &bill).await;
        let payment = format!("{wallet_api}/payments/{}", payment["id"].as_str().unwrap());
        eventually("the bill is paid", async || {
            let answer = self.client.get(&payment).send().await.unwrap();
            let payment: Value = answer.json().await.unwrap();
            if payment["status"] == "paid" {
                Ok(())
            } else {
                Err(payment.to_string())
            }
        })
        .await;
    }

    async fn post(&self, url: &str, body: &Value) -> Value {
        let answer = self.client.post(url).json(body).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
        answer.json().await.unwrap()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let down = std::process::Command::new(env!("CARGO_BIN_EXE_lab"))
            .arg("down")
            .envs(self.environment.clone())
            .output();
        drop(std::fs::remove_dir_all(&self.folder));
        assert!(
            std::thread::panicking() || down.is_ok_and(|down| down.status.success()),
            "the system did not stop"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relays_of_the_running_system_go_from_mode_to_mode() {
    let up = Up::start().await;
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
    let order = json!({ "relay_mode": "cdc" });
    let answer = up
        .client
        .post(format!("{}/orders", up.lab))
        .json(&order)
        .send()
        .await;
    let answer = answer.unwrap();
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
