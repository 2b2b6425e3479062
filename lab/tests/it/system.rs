//! The whole system for one test: its own databases, topics, ports and processes.

use std::path::PathBuf;
use std::time::Duration;

use diesel_migrations::EmbeddedMigrations;
use serde_json::{Value, json};
use testkit::{
    Process, TestDatabase, TopicReader, eventually, free_address, kafka_brokers, unique_prefix,
};

/// Partitions of the test's topics.
pub(crate) const PARTITIONS: i32 = 4;

pub(crate) struct System {
    /// Running processes, by name. The first field, so that they end before their databases do.
    processes: Vec<(&'static str, Process)>,
    /// The test's own settings: the beginning of a process name, a variable and its value.
    settings: Vec<(&'static str, &'static str, String)>,
    /// Where the programs are that are started from now on; empty: those of this build.
    pub(crate) programs: PathBuf,
    pub(crate) wallet_database: TestDatabase,
    pub(crate) bill_payer_database: TestDatabase,
    pub(crate) brokers: String,
    pub(crate) prefix: String,
    pub(crate) wallet_events: TopicReader,
    pub(crate) wallet_api: String,
    /// Where wallet-api serves operators.
    pub(crate) wallet_api_admin: String,
    pub(crate) bill_payer_api: String,
    pub(crate) provider: String,
    pub(crate) client: reqwest::Client,
}

/// What a system runs on.
pub(crate) struct Servers {
    /// As [`System::programs`].
    pub(crate) programs: PathBuf,
    pub(crate) wallet_database: TestDatabase,
    pub(crate) bill_payer_database: TestDatabase,
    pub(crate) brokers: String,
    /// Of each topic.
    pub(crate) replicas: i32,
}

impl Servers {
    pub(crate) async fn of_the_tests() -> Self {
        Self {
            programs: PathBuf::new(),
            wallet_database: TestDatabase::create("wallet", wallet_migrations()).await,
            bill_payer_database: TestDatabase::create("bill_payer", bill_payer_migrations()).await,
            brokers: kafka_brokers(),
            replicas: 1,
        }
    }
}

pub(crate) fn wallet_migrations() -> Vec<EmbeddedMigrations> {
    vec![
        outbox::MIGRATIONS,
        operations::MIGRATIONS,
        wallet_api::MIGRATIONS,
    ]
}

pub(crate) fn bill_payer_migrations() -> Vec<EmbeddedMigrations> {
    vec![
        outbox::MIGRATIONS,
        operations::MIGRATIONS,
        bill_payer::MIGRATIONS,
    ]
}

impl System {
    /// Starts everything and waits until it is ready: the provider, both services, two relays of the wallet database and
    /// one of bill-payer's.
    pub(crate) async fn start() -> Self {
        Self::start_with(Vec::new()).await
    }

    /// The same with more settings: the beginning of a process name, a variable and its value.
    pub(crate) async fn start_with(settings: Vec<(&'static str, &'static str, String)>) -> Self {
        Self::start_on(Servers::of_the_tests().await, settings).await
    }

    /// The same, on other servers than the tests'.
    pub(crate) async fn start_on(
        servers: Servers,
        settings: Vec<(&'static str, &'static str, String)>,
    ) -> Self {
        let Servers {
            programs,
            wallet_database,
            bill_payer_database,
            brokers,
            replicas,
        } = servers;
        let prefix = unique_prefix();
        let create = async |topic: &str| {
            let topic = format!("{prefix}{topic}");
            TopicReader::create_on(&brokers, &topic, PARTITIONS, replicas).await
        };
        let wallet_events = create(events::WALLET_TOPIC).await;
        for topic in [events::BILL_TOPIC, events::COMMAND_TOPIC] {
            create(topic).await;
        }
        let mut system = Self {
            processes: Vec::new(),
            settings,
            programs,
            wallet_database,
            bill_payer_database,
            brokers,
            prefix,
            wallet_events,
            wallet_api: free_address(),
            wallet_api_admin: free_address(),
            bill_payer_api: free_address(),
            provider: free_address(),
            client: reqwest::Client::builder()
                .timeout(Duration::from_secs(60))
                .build()
                .expect("a client is made"),
        };
        for name in [
            "mock-provider",
            "wallet-api",
            "bill-payer",
            "relay-wallet-1",
            "relay-wallet-2",
            "relay-bill",
        ] {
            system.start_process(name);
        }
        for address in [
            &system.provider,
            &system.wallet_api_admin,
            &system.bill_payer_api,
        ] {
            system.ready(address).await;
        }
        system
    }

    /// Starts one of the processes (again).
    pub(crate) fn start_process(&mut self, name: &'static str) {
        let provider = format!("http://{}", self.provider);
        let mut environment = vec![
            ("KAFKA_BROKERS", self.brokers.as_str()),
            ("TOPIC_PREFIX", &self.prefix),
            ("LOG", "warn"),
        ];
        let (wallet, bills) = (self.wallet_database.url(), self.bill_payer_database.url());
        let relay = free_address();
        let binary = match name {
            "mock-provider" => {
                environment.push(("LISTEN", &self.provider));
                "mock-provider"
            }
            "wallet-api" | "wallet-api-2" | "wallet-api-3" => {
                environment.extend([
                    ("DATABASE_URL", wallet),
                    ("LISTEN", &self.wallet_api),
                    ("ADMIN_LISTEN", &self.wallet_api_admin),
                ]);
                "wallet-api"
            }
            "bill-payer" | "bill-payer-2" | "bill-payer-3" => {
                environment.extend([
                    ("DATABASE_URL", bills),
                    ("ADMIN_LISTEN", &self.bill_payer_api),
                    ("PROVIDER_URL", &provider),
                    // Short, so that a killed one's bills come back soon.
                    ("PROVIDER_CALL_TIMEOUT_MS", "2000"),
                    ("CLAIM_LEASE_MS", "4000"),
                ]);
                "bill-payer"
            }
            "relay-wallet-1" | "relay-wallet-2" => {
                environment.extend([("DATABASE_URL", wallet), ("ADMIN_LISTEN", &relay)]);
                "relay"
            }
            _ => {
                environment.extend([("DATABASE_URL", bills), ("ADMIN_LISTEN", &relay)]);
                "relay"
            }
        };
        let settings = self.settings.iter();
        let settings = settings.filter(|(of, ..)| name.starts_with(of));
        environment.extend(settings.map(|(_, variable, value)| (*variable, value.as_str())));
        let binary = self.programs.join(binary);
        let binary = binary.to_str().expect("the folder's name is text");
        let process = Process::start(binary, &environment);
        self.processes.push((name, process));
    }

    /// kill -9.
    pub(crate) fn kill_9(&mut self, name: &str) {
        let position = self.processes.iter().position(|(one, _)| *one == name);
        let (_, process) = self
            .processes
            .swap_remove(position.expect("the process runs"));
        process.kill_9();
    }

    /// Ends a process in order, and waits until it has ended.
    pub(crate) async fn stop(&mut self, name: &str) {
        let position = self.processes.iter().position(|(one, _)| *one == name);
        let (_, process) = self
            .processes
            .swap_remove(position.expect("the process runs"));
        process.terminate();
        let ended = tokio::task::spawn_blocking(|| process.wait()).await;
        assert!(ended.unwrap().success(), "{name}");
    }

    /// Runs a command of wallet-api or bill-payer to its end; returns whether it succeeded, and its output.
    pub(crate) fn run(&self, service: &str, arguments: &[&str]) -> (bool, String) {
        let database = match service {
            "wallet-api" => &self.wallet_database,
            _ => &self.bill_payer_database,
        };
        let environment = [
            ("DATABASE_URL", database.url()),
            ("KAFKA_BROKERS", &self.brokers),
            ("TOPIC_PREFIX", &self.prefix),
            ("PROVIDER_URL", "http://127.0.0.1:1"),
            ("OPERATOR", "asha"),
        ];
        let mut command = testkit::command(service, &environment);
        let output = command.args(arguments).output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat());
        (output.status.success(), said.unwrap())
    }

    /// Replaces the test's own settings, for processes that are started after this.
    pub(crate) fn set(&mut self, settings: Vec<(&'static str, &'static str, String)>) {
        self.settings = settings;
    }

    /// Tells the provider how to behave.
    pub(crate) async fn behave(&self, behaviour: &Value) {
        let url = format!("http://{}/behaviour", self.provider);
        let answer = self.client.put(url).json(behaviour).send().await;
        let answer = answer.expect("the provider answers");
        assert!(answer.status().is_success(), "{answer:?}");
    }

    pub(crate) async fn ready(&self, address: &str) {
        eventually("the service is ready", async || {
            let answer = self.get(address, "/readyz").await;
            match answer {
                Ok(answer) if answer["status"] == "ready" => Ok(()),
                seen => Err(format!("{address}: {seen:?}")),
            }
        })
        .await;
    }

    async fn get(&self, address: &str, path: &str) -> reqwest::Result<Value> {
        let answer = self.client.get(format!("http://{address}{path}"));
        answer.send().await?.json().await
    }

    /// Sends a GET to wallet-api, bill-payer or the provider; returns the JSON.
    pub(crate) async fn look(&self, address: &str, path: &str) -> Value {
        let answer = self.get(address, path).await;
        answer.expect("the service answers")
    }

    pub(crate) async fn post(
        &self,
        address: &str,
        path: &str,
        key: Option<&str>,
        body: &Value,
    ) -> (u16, Value) {
        let mut request = self.client.post(format!("http://{address}{path}"));
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let request = request
            .header("content-type", "application/json")
            .body(body.to_string());
        let answer = request.send().await.expect("the service answers");
        let status = answer.status().as_u16();
        (status, answer.json().await.expect("the answer is JSON"))
    }

    /// A wallet in INR.
    pub(crate) async fn wallet(&self, opening_balance: &str) -> String {
        let body = json!({ "currency": "INR", "opening_balance": opening_balance });
        let (status, wallet) = self.post(&self.wallet_api, "/wallets", None, &body).await;
        assert_eq!(status, 201, "{wallet}");
        wallet["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn pay(
        &self,
        wallet: &str,
        key: Option<&str>,
        account_number: &str,
    ) -> (u16, Value) {
        let body = json!({ "amount": "1", "account_number": account_number });
        let path = format!("/wallets/{wallet}/pay-bill");
        self.post(&self.wallet_api, &path, key, &body).await
    }

    /// Pays a bill that must be accepted, and returns the payment's id.
    pub(crate) async fn accepted(&self, wallet: &str) -> String {
        let (status, payment) = self.pay(wallet, None, "WIFI-1").await;
        assert_eq!(status, 202, "{payment}");
        payment["id"].as_str().unwrap().to_owned()
    }

    /// Waits until the payment has ended, and returns it.
    pub(crate) async fn ended(&self, payment: &str) -> Value {
        eventually("the payment has ended", async || {
            let path = format!("/payments/{payment}");
            let shown = self
                .get(&self.wallet_api, &path)
                .await
                .map_err(|error| error.to_string())?;
            match shown["status"].as_str() {
                Some("paid" | "refunded") => Ok(shown),
                _ => Err(shown.to_string()),
            }
        })
        .await
    }

    pub(crate) async fn balance(&self, wallet: &str) -> String {
        let shown = self
            .look(&self.wallet_api, &format!("/wallets/{wallet}"))
            .await;
        shown["balance"].as_str().unwrap().to_owned()
    }

    /// Returns what the provider has received for a payment.
    pub(crate) async fn received(&self, payment: &str) -> Value {
        self.look(&self.provider, &format!("/payments/{payment}"))
            .await
    }

    /// Asserts that every event was published, and that each balance is the sum of its transfers.
    pub(crate) async fn assert_settled(&self) {
        for database in [&self.wallet_database, &self.bill_payer_database] {
            eventually("the outbox is empty", async || {
                match database.count("select count(*) from outbox").await {
                    0 => Ok(()),
                    rows => Err(format!("{rows} rows")),
                }
            })
            .await;
        }
        let differing = "select count(*) from wallets where balance <> \
             coalesce((select sum(amount) from transfers where credit_account = wallets.id), 0) - \
             coalesce((select sum(amount) from transfers where debit_account = wallets.id), 0)";
        assert_eq!(self.wallet_database.count(differing).await, 0);
        let in_clearing = "select count(*) from accounts where kind = 'clearing' and \
             coalesce((select sum(amount) from transfers where credit_account = accounts.id), 0) <> \
             coalesce((select sum(amount) from transfers where debit_account = accounts.id), 0)";
        assert_eq!(self.wallet_database.count(in_clearing).await, 0);
    }
}
