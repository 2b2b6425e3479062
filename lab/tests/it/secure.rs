//! A payment over TLS all the way, in each mode: PostgreSQL with `verify-full`, Kafka with SASL, the provider with https. Each service
//! has logins of its own, which can do what it needs and no more. And what a run writes shows none of its secrets.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use diesel_async::SimpleAsyncConnection as _;
use lab_stack::connect;
use lab_stack::home::Home;
use lab_stack::kafka as lab_kafka;
use lab_stack::sources::KafkaPorts;
use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::{Value, json};
use testkit::{
    Issued, KafkaOperation, KafkaResource, PostgresServer, Process, Stop, TestDatabase, TlsFront,
    allow, eventually, free_address,
};

const PASSWORD: &str = "planted-database-password";
const SASL_PASSWORD: &str = "planted-sasl-password";
/// The users of PostgreSQL and of Kafka, which have the same names.
const USERS: [&str; 5] = [
    "wallet_api",
    "wallet_relay",
    "bill_payer",
    "bill_relay",
    "auditor",
];
const TOKEN: &str = "planted-provider-token";

/// The files of `deploy/secure/compose.yml`, made by its own script, with secrets that are easy to find again.
fn make_files(folder: &Path) -> PathBuf {
    let files = folder.join("files");
    for user in USERS.into_iter().chain([CONNECT]) {
        let secrets = [
            (files.join("postgres/passwords").join(user), PASSWORD),
            (files.join(user).join("kafka-password"), SASL_PASSWORD),
        ];
        for (file, secret) in secrets {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, secret).unwrap();
        }
    }
    let make = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/secure/make");
    let made = Command::new(make).arg(&files).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    files
}

/// The certificate of one of its servers.
fn certificate(files: &Path, server: &str) -> Issued {
    Issued {
        certificate: files.join(server).join("server.crt"),
        key: files.join(server).join("server.key"),
    }
}

/// A broker that its clients reach by SASL over TLS at `address`; ends with the test.
struct SecureBroker {
    address: String,
    /// Without TLS and login, for the test.
    plain: String,
    java: PathBuf,
    classes: Vec<String>,
    process: Child,
}

impl SecureBroker {
    async fn start(files: &Path, folder: &Path) -> Self {
        let port = || -> u16 {
            let address = free_address();
            address.rsplit_once(':').unwrap().1.parse().unwrap()
        };
        let ports = KafkaPorts {
            broker: port(),
            controller: port(),
        };
        let secure = port();
        let jars = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.dev");
        let home = Home::new(&folder.join("kafka-home")).unwrap();
        let prepared = lab_kafka::prepare(&home, &Home::new(&jars).unwrap(), ports).await;
        let prepared = prepared.unwrap();
        let settings = home.kafka().join("server.properties");
        let plain = std::fs::read_to_string(&settings).unwrap();
        let text = plain + &listeners(ports, secure, &files.join("kafka"));
        std::fs::write(&settings, text).unwrap();
        let log = std::fs::File::create(folder.join("broker.txt")).unwrap();
        let process = Command::new(&prepared.program)
            .args(&prepared.args)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let (java, mut classes) = (prepared.program, prepared.args);
        // The program's name and its settings.
        classes.truncate(classes.len() - 2);
        let broker = Self {
            address: format!("localhost:{secure}"),
            plain: format!("127.0.0.1:{}", ports.broker),
            java,
            classes,
            process,
        };
        let probe = chassis::kafka::Probe::new(broker.plain.as_str(), "test").unwrap();
        eventually("the broker answers", async || {
            let answer = probe.clone().check().await;
            answer.map_err(|error| format!("{error:#}"))
        })
        .await;
        broker
    }

    /// Runs one of Kafka's tools.
    fn tool(&self, class: &str, arguments: &[&str]) {
        let ended = Command::new(&self.java)
            .args(&self.classes)
            .arg(class)
            .args(["--bootstrap-server", &self.plain])
            .args(arguments)
            .output()
            .unwrap();
        assert!(ended.status.success(), "{ended:?}");
    }
}

/// A listener that asks for a login over TLS, besides the plain one. `made` has the settings of the Compose file's broker.
fn listeners(ports: KafkaPorts, secure: u16, made: &Path) -> String {
    let KafkaPorts { broker, controller } = ports;
    let settings = std::fs::read_to_string(made.join("server.properties")).unwrap();
    let settings = settings.replace("/secrets", &made.display().to_string());
    format!(
        "listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller},SECURE://127.0.0.1:{secure}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{broker},SECURE://localhost:{secure}\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL\n\
         {settings}\
         listener.name.secure.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512\n\
         listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule \
            required;\n"
    )
}

/// What each user may do at Kafka, as the Compose file has it, with the names of these databases.
fn acls(wallet: &str, bills: &str) -> Vec<(String, KafkaOperation, KafkaResource, String)> {
    let list = include_str!("../../../deploy/secure/acls.txt");
    let list = list.replace(
        "outbox_debezium_wallet",
        &format!("outbox_debezium_{wallet}"),
    );
    let list = list.replace(
        "outbox_debezium_bill_payer",
        &format!("outbox_debezium_{bills}"),
    );
    let mut acls = Vec::new();
    for line in list.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split(' ');
        let (user, operations) = (words.next().unwrap(), words.next().unwrap());
        for resource in words {
            let (kind, name) = resource.split_once('=').unwrap();
            let kinds = [
                ("topic", KafkaResource::Topic),
                ("group", KafkaResource::Group),
            ];
            let (_, kind) = kinds.into_iter().find(|(name, _)| *name == kind).unwrap();
            for operation in operations.split(',') {
                let known = [
                    ("All", KafkaOperation::All),
                    ("Create", KafkaOperation::Create),
                    ("Describe", KafkaOperation::Describe),
                    ("DescribeConfigs", KafkaOperation::DescribeConfigs),
                    ("Read", KafkaOperation::Read),
                    ("Write", KafkaOperation::Write),
                ];
                let found = known.into_iter().find(|(name, _)| *name == operation);
                let (_, operation) = found.unwrap();
                acls.push((user.to_owned(), operation, kind, name.to_owned()));
            }
        }
    }
    acls
}

/// The user of Kafka Connect, and the name of its group.
const CONNECT: &str = "connect";

/// A worker of Kafka Connect with Debezium; ends with the test.
struct Worker {
    home: Home,
    url: String,
    process: Child,
}

impl Worker {
    async fn start(broker: &SecureBroker, files: &Path, folder: &Path) -> Self {
        let address = free_address();
        let port = address.rsplit_once(':').unwrap().1.parse().unwrap();
        let jars = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.dev");
        let home = Home::new(&folder.join("connect-home")).unwrap();
        let jars = Home::new(&jars).unwrap();
        let part = connect::part(&home, &jars, port, &broker.address, CONNECT).await;
        let part = part.unwrap();
        let login = format!(
            "security.protocol=SASL_SSL\n\
             sasl.mechanism=PLAIN\n\
             ssl.truststore.type=PEM\n\
             ssl.truststore.location={}\n",
            files.join("ca.crt").display()
        );
        let jaas = files.join("connect/jaas.conf");
        let jaas = format!("-Djava.security.auth.login.config={}", jaas.display());
        // The worker's own clients, and those that publish the events.
        let of_producers = login.lines().map(|line| format!("producer.{line}\n"));
        let settings = part.args.last().unwrap();
        let plain = std::fs::read_to_string(settings).unwrap();
        let text = plain + &login + &of_producers.collect::<String>();
        std::fs::write(settings, text).unwrap();
        let log = std::fs::File::create(folder.join("connect.log")).unwrap();
        let process = Command::new(&part.program)
            .arg(jaas)
            .args(&part.args)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        for user in USERS.into_iter().filter(|user| user.ends_with("_relay")) {
            connect::save_password(&home, user, PASSWORD).unwrap();
        }
        Self {
            home,
            url: part.address,
            process,
        }
    }

    /// A JVM with a plugin takes its time, and gives 404 until then.
    async fn is_ready(&self, client: &reqwest::Client) {
        eventually("the worker answers", async || {
            let answer = client.get(format!("{}/connectors", self.url)).send().await;
            let answer = answer.and_then(reqwest::Response::error_for_status);
            answer.map_err(|error| error.to_string())
        })
        .await;
    }

    /// What everybody who reaches the worker can read of its connectors.
    async fn connectors(&self, client: &reqwest::Client) -> String {
        let url = format!("{}/connectors?expand=info", self.url);
        let answer = client.get(url).send().await.unwrap();
        answer.text().await.unwrap()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Drop for SecureBroker {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Roles that can log in and, the relays, replicate; and the publications, which none of them owns.
async fn make_roles(wallet: &TestDatabase, bills: &TestDatabase) {
    for (database, roles) in [(wallet, wallet_api::ROLES), (bills, bill_payer::ROLES)] {
        let mut conn = database.connect().await;
        // It may be run again.
        for _ in 0..2 {
            conn.batch_execute(roles).await.unwrap();
        }
        for name in ["outbox_relay", "outbox_debezium"] {
            let publication =
                format!("create publication {name} for table outbox with (publish = 'insert')");
            conn.batch_execute(&publication).await.unwrap();
        }
    }
    let mut conn = wallet.connect().await;
    for user in USERS {
        let more = if user.ends_with("_relay") {
            "replication"
        } else {
            ""
        };
        let login = format!("alter role {user} login password '{PASSWORD}' {more}");
        conn.batch_execute(&login).await.unwrap();
    }
}

/// Topics, and users of Kafka who may do what they need.
async fn make_users(broker: &SecureBroker, databases: &[String; 2]) {
    let topics = [
        events::WALLET_TOPIC,
        events::BILL_TOPIC,
        events::COMMAND_TOPIC,
    ];
    chassis::kafka::create_topics(broker.plain.as_str(), &topics, 2, 1)
        .await
        .unwrap();
    let login = format!("SCRAM-SHA-512=[password={SASL_PASSWORD}]");
    let mut alter = vec!["--alter", "--add-config", &login];
    // The relays log in by PLAIN.
    for user in ["wallet_api", "bill_payer", "auditor"] {
        alter.extend(["--entity-type", "users", "--entity-name", user]);
        broker.tool("kafka.admin.ConfigCommand", &alter);
        alter.truncate(3);
    }
    let [wallet, bills] = databases;
    let acls = acls(wallet, bills);
    let acls = acls.iter().map(|(user, operation, resource, name)| {
        (user.as_str(), *operation, *resource, name.as_str())
    });
    allow(&broker.plain, &acls.collect::<Vec<_>>()).await;
}

/// Everything of a system that asks for TLS and logins.
struct Secure {
    /// First, so that they end before their servers do.
    processes: Vec<Process>,
    folder: tempfile::TempDir,
    /// What `deploy/secure/make` has made.
    files: PathBuf,
    /// The names of the databases, which end with their server.
    wallet: String,
    bills: String,
    server: PostgresServer,
    broker: SecureBroker,
    front: TlsFront,
    client: reqwest::Client,
}

impl Secure {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = make_files(folder.path());
        // PostgreSQL.
        let mut server =
            PostgresServer::start(&["wal_level = logical", "fsync = on", "full_page_writes = on"])
                .await;
        let migrations = |own| vec![outbox::MIGRATIONS, operations::MIGRATIONS, own];
        let wallet = server.database(migrations(wallet_api::MIGRATIONS)).await;
        let bills = server.database(migrations(bill_payer::MIGRATIONS)).await;
        let name = |database: &TestDatabase| database.url().rsplit_once('/').unwrap().1.to_owned();
        make_roles(&wallet, &bills).await;
        server.encrypt(&certificate(&files, "postgres"), &files.join("ca.crt"));
        let users = USERS.join(",");
        server.admit(&[
            &format!("hostssl all {users} 127.0.0.1/32 scram-sha-256"),
            &format!("host all {users} 127.0.0.1/32 reject"),
        ]);
        server.restart(Stop::Fast).await;
        // Kafka.
        let broker = SecureBroker::start(&files, folder.path()).await;
        make_users(&broker, &[name(&wallet), name(&bills)]).await;
        // The provider.
        let provider = free_address();
        let environment = [("LISTEN", provider.as_str()), ("LOG", "warn")];
        let process = Process::start("mock-provider", &environment);
        let front = TlsFront::start(&provider, &certificate(&files, "proxy")).await;
        Self {
            processes: vec![process],
            folder,
            files,
            wallet: name(&wallet),
            bills: name(&bills),
            server,
            broker,
            front,
            client: reqwest::Client::builder().build().unwrap(),
        }
    }

    /// A file with `secret` in it.
    fn file(&self, name: &str, secret: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, format!("{secret}\n")).unwrap();
        path.display().to_string()
    }

    /// Who `service` is for PostgreSQL and Kafka.
    fn user(&self, service: &str, database: &str) -> &'static str {
        match service {
            "wallet-api" => "wallet_api",
            "bill-payer" => "bill_payer",
            "audit" => "auditor",
            _ if database == self.wallet => "wallet_relay",
            _ => "bill_relay",
        }
    }

    fn url(&self, user: &str, database: &str) -> String {
        let (_, port) = self.server.address().rsplit_once(':').unwrap();
        let ca = self.files.join("ca.crt");
        format!(
            "postgres://{user}:{PASSWORD}@localhost:{port}/{database}?sslmode=verify-full&sslrootcert={}",
            ca.display()
        )
    }

    /// The environment of a service on `database`; `more` override it.
    fn environment(
        &self,
        service: &str,
        name: &str,
        database: &str,
        more: &[(&str, &str)],
    ) -> Vec<(String, String)> {
        let user = self.user(service, database);
        let ca = self.files.join("ca.crt").display().to_string();
        // Files of its own: another service may be reading its files just now.
        let database = self.file(&format!("{name}.url"), &self.url(user, database));
        let mut environment: Vec<(String, String)> = [
            ("DATABASE_URL_FILE", database),
            ("KAFKA_BROKERS", self.broker.address.clone()),
            ("KAFKA_SECURITY_PROTOCOL", "SASL_SSL".to_owned()),
            ("KAFKA_SASL_MECHANISM", "SCRAM-SHA-512".to_owned()),
            ("KAFKA_SASL_USERNAME", user.to_owned()),
            (
                "KAFKA_SASL_PASSWORD_FILE",
                self.file(&format!("{name}.sasl"), SASL_PASSWORD),
            ),
            ("KAFKA_SSL_CA_LOCATION", ca.clone()),
            (
                "PROVIDER_URL",
                format!("https://localhost:{}", self.front.port()),
            ),
            (
                "PROVIDER_TOKEN_FILE",
                self.file(&format!("{name}.token"), TOKEN),
            ),
            ("PROVIDER_CA_FILE", ca),
            // All that a dependency may say.
            ("LOG", "debug".to_owned()),
            ("KAFKA_DEBUG", "security,conf".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        for (name, value) in more {
            environment.retain(|(other, _)| other != name);
            environment.push(((*name).to_owned(), (*value).to_owned()));
        }
        environment
    }

    /// Starts a service and returns its address for operators; what it writes is in the file of its name.
    fn run(&mut self, service: &str, name: &str, database: &str, more: &[(&str, &str)]) -> String {
        let address = free_address();
        let more = [more, &[("ADMIN_LISTEN", address.as_str())]].concat();
        let environment = self.environment(service, name, database, &more);
        let environment: Vec<(&str, &str)> = environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let log = self.folder.path().join(format!("{name}.log"));
        let process = Process::start_logging(service, &environment, &log);
        self.processes.push(process);
        address
    }

    async fn get(&self, address: &str, path: &str) -> Result<(u16, Value), String> {
        let answer = self.client.get(format!("http://{address}{path}")).send();
        let answer = answer.await.map_err(|error| error.to_string())?;
        let status = answer.status().as_u16();
        let body = answer.json().await.map_err(|error| error.to_string())?;
        Ok((status, body))
    }

    async fn is_ready(&self, address: &str) {
        eventually("the service is ready", async || {
            match self.get(address, "/readyz").await {
                Ok((200, _)) => Ok(()),
                other => Err(format!("{other:?}; last lines: {:#?}", self.last_lines())),
            }
        })
        .await;
    }

    async fn post(&self, address: &str, path: &str, body: &Value) -> Value {
        let request = self.client.post(format!("http://{address}{path}"));
        let answer = request.json(body).send().await.unwrap();
        let (status, body) = (answer.status(), answer.json().await.unwrap());
        assert!(status.is_success(), "{status} {body}");
        body
    }

    async fn pays(&self, wallet_api: &str) {
        let wallet = json!({ "currency": "INR", "opening_balance": "10" });
        let wallet = self.post(wallet_api, "/wallets", &wallet).await;
        let path = format!("/wallets/{}/pay-bill", wallet["id"].as_str().unwrap());
        let bill = json!({ "amount": "1", "account_number": "WIFI-1" });
        let payment = self.post(wallet_api, &path, &bill).await;
        let path = format!("/payments/{}", payment["id"].as_str().unwrap());
        eventually("the payment is paid", async || {
            let (_, payment) = self.get(wallet_api, &path).await?;
            match payment["status"].as_str() {
                Some("paid") => Ok(()),
                _ => Err(payment.to_string()),
            }
        })
        .await;
    }

    /// A program that ends: returns what it printed. Its settings are those of a service.
    fn prints(&self, program: &str, arguments: &[&str], more: &[(&str, &str)]) -> String {
        let environment = self.environment(program, program, &self.wallet, more);
        let environment: Vec<(&str, &str)> = environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let mut command = testkit::command(program, &environment);
        let ended = command.args(arguments).output().unwrap();
        let printed = [ended.stdout, ended.stderr].map(|text| String::from_utf8(text).unwrap());
        let printed = printed.concat();
        let log = self.folder.path().join(format!("{program}-end.log"));
        std::fs::write(log, &printed).unwrap();
        assert!(ended.status.success(), "{program}: {printed}");
        printed
    }

    /// Both find nothing wrong, by logins that may do no more than they need.
    fn doctor_and_audit_are_content(&self) {
        let doctor = ["doctor", "--topic=wallet.events"];
        let settings = [("KAFKA_SASL_MECHANISM", "PLAIN"), ("REPLICAS_MIN", "1")];
        let said = self.prints("relay", &doctor, &settings);
        for found in ["Kafka version", "sasl_ssl", "PostgreSQL TLS"] {
            assert!(said.contains(found), "{said}");
        }
        assert!(!said.contains("wallet.events: settings"), "{said}");
        let url =
            |database: &str| self.file(&format!("{database}.url"), &self.url("auditor", database));
        let (wallet, bills) = (url(&self.wallet), url(&self.bills));
        let settings = [
            ("WALLET_DATABASE_URL_FILE", wallet.as_str()),
            ("BILL_PAYER_DATABASE_URL_FILE", bills.as_str()),
        ];
        let said = self.prints("audit", &["check"], &settings);
        assert!(said.contains("paid"), "{said}");
    }

    /// No login of a service can do another's work, or change what was written.
    #[expect(clippy::too_many_lines, reason = "a table")]
    async fn refuses_more_than_each_needs(&self) {
        for (user, database, statement) in [
            (
                "wallet_api",
                &self.wallet,
                "update transfers set amount = 1",
            ),
            ("wallet_api", &self.wallet, "delete from transfers"),
            (
                "wallet_api",
                &self.wallet,
                "alter table transfers disable trigger all",
            ),
            (
                "wallet_api",
                &self.wallet,
                "drop trigger transfers_are_append_only on transfers",
            ),
            (
                "wallet_api",
                &self.wallet,
                "update wallets set owner = 'somebody'",
            ),
            ("wallet_api", &self.wallet, "delete from outbox"),
            (
                "wallet_api",
                &self.wallet,
                "update operator_actions set operator = 'somebody'",
            ),
            ("wallet_api", &self.wallet, "create table mine ()"),
            ("wallet_relay", &self.wallet, "select from wallets"),
            ("wallet_relay", &self.wallet, "select from payments"),
            (
                "wallet_relay",
                &self.wallet,
                "update outbox set payload = '{}'",
            ),
            (
                "wallet_relay",
                &self.wallet,
                "insert into outbox default values",
            ),
            ("bill_payer", &self.bills, "delete from outbox"),
            ("bill_relay", &self.bills, "select from bills"),
        ] {
            let url = self.url(user, database);
            let mut conn = chassis::database::connect(&url, "test").await.unwrap();
            let refused = conn.batch_execute(statement).await.unwrap_err().to_string();
            let is_refused =
                refused.contains("permission denied") || refused.contains("must be owner");
            assert!(is_refused, "{user}: {statement}: {refused}");
        }
        for (user, database) in [
            ("bill_payer", &self.wallet),
            ("bill_relay", &self.wallet),
            ("wallet_api", &self.bills),
        ] {
            let refused = chassis::database::connect(&self.url(user, database), "test").await;
            let refused = format!("{:#}", refused.err().unwrap());
            assert!(
                refused.contains("permission denied for database"),
                "{user}: {refused}"
            );
        }
        // Nobody but the wallet's relay can forge a payment.
        for user in ["wallet_api", "bill_payer", "bill_relay"] {
            let said = self.produces(user, events::WALLET_TOPIC).await;
            assert_eq!(said, Err("TopicAuthorizationFailed".to_owned()), "{user}");
        }
        assert_eq!(
            self.produces("wallet_relay", events::BILL_TOPIC).await,
            Err("TopicAuthorizationFailed".to_owned())
        );
    }

    /// Publishes a record as `user`.
    async fn produces(&self, user: &str, topic: &str) -> Result<(), String> {
        let mechanism = if user.ends_with("_relay") {
            "PLAIN"
        } else {
            "SCRAM-SHA-512"
        };
        let producer: FutureProducer = ClientConfig::new()
            .set("bootstrap.servers", &self.broker.address)
            .set("security.protocol", "SASL_SSL")
            .set(
                "ssl.ca.location",
                self.files.join("ca.crt").display().to_string(),
            )
            .set("sasl.mechanism", mechanism)
            .set("sasl.username", user)
            .set("sasl.password", SASL_PASSWORD)
            .create()
            .unwrap();
        let record = FutureRecord::to(topic).key("forged").payload("{}");
        match producer.send(record, Duration::from_secs(30)).await {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(format!("{:?}", error.rdkafka_error_code().unwrap())),
        }
    }

    /// What each process wrote last.
    fn last_lines(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.folder.path()).unwrap();
        let files = files.map(|entry| entry.unwrap().path());
        let logs = files.filter(|path| path.extension().is_some_and(|end| end == "log"));
        let last = |path: PathBuf| {
            let text = std::fs::read_to_string(&path).unwrap();
            let line = text.lines().last().unwrap_or_default();
            format!("{}: {line}", path.display())
        };
        logs.map(last).collect()
    }

    /// Looks for secrets in what every process has written, and in what everybody can see of it.
    fn shows_no_secret(&self) {
        let mut texts = Vec::new();
        for entry in std::fs::read_dir(self.folder.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|end| end == "log") {
                let text = std::fs::read_to_string(&path).unwrap();
                texts.push((path.display().to_string(), text));
            }
        }
        for process in &self.processes {
            let path = format!("/proc/{}/cmdline", process.id());
            let text = std::fs::read_to_string(&path).unwrap();
            texts.push((path, text));
        }
        assert!(texts.len() > 8, "{}", texts.len());
        for (name, text) in texts {
            assert!(!text.is_empty(), "{name} is empty");
            let shown = text.lines().find(|line| line.contains("planted-"));
            assert_eq!(shown, None, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_goes_over_tls_all_the_way_in_each_mode_and_no_secret_is_shown() {
    let mut system = Secure::start().await;
    let (wallet, bills) = (system.wallet.clone(), system.bills.clone());
    let customers = free_address();
    let listen = [("LISTEN", customers.as_str())];
    let wallet_api = system.run("wallet-api", "wallet-api", &wallet, &listen);
    let bill_payer = system.run("bill-payer", "bill-payer", &bills, &[]);
    let worker = Worker::start(&system.broker, &system.files, system.folder.path()).await;
    worker.is_ready(&system.client).await;
    for mode in ["poller", "cdc", "debezium"] {
        let relays = [("wallet", &wallet), ("bills", &bills)].map(|(of, database)| {
            let name = format!("relay-{of}-{mode}");
            let role = system.user("relay", database);
            let reference = connect::password_reference(&worker.home, role);
            let settings = [
                ("RELAY_MODE", mode),
                ("KAFKA_SASL_MECHANISM", "PLAIN"),
                ("CONNECT_URL", &worker.url),
                ("CONNECT_DATABASE_PASSWORD", &reference),
            ];
            system.run("relay", &name, database, &settings)
        });
        for address in relays.iter().chain([&wallet_api, &bill_payer]) {
            system.is_ready(address).await;
        }
        system.pays(&customers).await;
        system.shows_no_secret();
        if mode == "debezium" {
            let connectors = worker.connectors(&system.client).await;
            assert!(connectors.contains("database.password"), "{connectors}");
            assert!(!connectors.contains("planted-"), "{connectors}");
        }
        // The relays of the next mode wait for the end of these.
        for _ in relays {
            system.processes.pop().unwrap().kill_9();
        }
    }
    system.doctor_and_audit_are_content();
    system.refuses_more_than_each_needs().await;
    // And with all of it wrong: what is said of a failure shows no secret either.
    let wrong = system.file("wrong", "planted-wrong-password");
    let refused = [
        ("KAFKA_SASL_PASSWORD_FILE", wrong.as_str()),
        ("RELAY_MODE", "poller"),
    ];
    let relay = system.run("relay", "relay-wrong", &wallet, &refused);
    eventually("a wrong password of Kafka is said", async || {
        let log = system.folder.path().join("relay-wrong.log");
        let log = std::fs::read_to_string(log).unwrap();
        let (status, _) = system.get(&relay, "/readyz").await?;
        match log
            .lines()
            .find(|line| line.contains("Authentication failed"))
        {
            Some(_) if status == 503 => Ok(()),
            _ => Err(format!("{status}")),
        }
    })
    .await;
    system.shows_no_secret();
}
