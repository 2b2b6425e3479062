//! A system that was started by `lab up`, for one test.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{connect_url, eventually, free_address, kafka_brokers, server_url, unique_prefix};
use tokio::process::Command;

/// A system that runs until the end of the test.
pub(crate) struct Up {
    pub(crate) folder: PathBuf,
    pub(crate) environment: Vec<(&'static str, String)>,
    /// Base URL.
    pub(crate) lab: String,
    pub(crate) client: reqwest::Client,
}

impl Up {
    /// Starts the services only, on the servers of the tests.
    pub(crate) async fn on_given_servers() -> Self {
        let prefix = unique_prefix();
        let folder = std::env::temp_dir().join(format!("lab-up-{prefix}"));
        let servers = vec![
            ("DATABASE_URL", server_url()),
            ("KAFKA_BROKERS", kafka_brokers()),
            ("CONNECT_URL", connect_url()),
            ("TOPIC_PREFIX", prefix),
        ];
        Self::start(folder, servers).await
    }

    /// Starts a PostgreSQL and a Kafka too, which the test may stop.
    pub(crate) async fn whole() -> Self {
        let folder = std::env::temp_dir().join(format!("lab-up-{}", unique_prefix()));
        let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.dev/kafka/fetched");
        if fetched.exists() {
            // Saves fetching the jars once more.
            std::fs::create_dir_all(folder.join("kafka")).unwrap();
            let mut copy = Command::new("cp");
            copy.arg("-a")
                .arg(fetched)
                .arg(folder.join("kafka/fetched"));
            let copied = copy.status().await;
            assert!(copied.unwrap().success());
        }
        let servers = ["POSTGRES_PORT", "KAFKA_PORT", "KAFKA_CONTROLLER_PORT"];
        Self::start(folder, servers.map(|name| (name, port())).into()).await
    }

    async fn start(folder: PathBuf, servers: Vec<(&'static str, String)>) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        // Three ports in a row for each of four systems of this process.
        let nth = std::process::id() % 250 * 4 + STARTED.fetch_add(1, Ordering::Relaxed) % 4;
        let lab_port = port();
        let own = [
            ("LAB_DIR", folder.display().to_string()),
            ("WALLET_API_PORT", port()),
            ("WALLET_API_ADMIN_PORT", port()),
            ("BILL_PAYER_PORT", port()),
            ("MOCK_PROVIDER_PORT", port()),
            ("RELAY_PORT", (28_000 + nth * 3).to_string()),
            ("LAB_PORT", lab_port.clone()),
        ];
        let up = Self {
            folder,
            environment: servers.into_iter().chain(own).collect(),
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

    /// Runs a command of the lab; returns whether it succeeded, and its output.
    pub(crate) async fn lab(&self, arguments: &[&str]) -> (bool, String) {
        self.lab_with(&self.environment, arguments).await
    }

    /// The same with another environment.
    pub(crate) async fn lab_with(
        &self,
        environment: &[(&'static str, String)],
        arguments: &[&str],
    ) -> (bool, String) {
        let ended = Command::new(env!("CARGO_BIN_EXE_lab"))
            .args(arguments)
            .envs(environment.iter().cloned())
            .output()
            .await
            .unwrap();
        let said = [ended.stdout, ended.stderr].concat();
        (ended.status.success(), String::from_utf8(said).unwrap())
    }

    /// The data folder of its PostgreSQL.
    pub(crate) fn postgres_data(&self) -> PathBuf {
        let elsewhere = std::fs::read_to_string(self.folder.join("postgres-data-is-elsewhere"));
        let folder = elsewhere.map_or_else(
            |_| self.folder.join("postgres"),
            |elsewhere| PathBuf::from(elsewhere.trim()),
        );
        folder.join("data")
    }

    pub(crate) async fn stack(&self) -> Value {
        let answer = self.client.get(format!("{}/stack", self.lab)).send().await;
        answer.unwrap().json().await.unwrap()
    }

    /// Pays a bill and waits until it is paid; returns the payment's id.
    pub(crate) async fn pays(&self) -> String {
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
        let id = payment["id"].as_str().unwrap().to_owned();
        let payment = format!("{wallet_api}/payments/{id}");
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
        id
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

fn port() -> String {
    let address = free_address();
    address.rsplit(':').next().unwrap().to_owned()
}
