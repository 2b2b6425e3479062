//! Our services as parts: which programs run, with what settings, where.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::try_join;

use crate::config::{Settings, WALLET_RELAYS};
use crate::databases;
use crate::home::Home;
use crate::part::{Part, Ready, Tier};
use crate::servers::Servers;
use crate::stack::Stack;

/// How many payments of different wallets can be on their way at once: a topic's partitions.
const PARTITIONS: i32 = 8;

/// The programs that must be there.
const PROGRAMS: [&str; 4] = ["mock-provider", "wallet-api", "bill-payer", "relay"];

/// The folder with the programs: the lab's own.
///
/// # Errors
/// One is missing.
pub(crate) fn programs() -> anyhow::Result<PathBuf> {
    folder_of(&PROGRAMS)
}

/// The folder with `programs`: the lab's own.
///
/// # Errors
/// One is missing.
pub(crate) fn folder_of(programs: &[&str]) -> anyhow::Result<PathBuf> {
    let lab = std::env::current_exe().context("finding the lab's own program")?;
    let folder = lab
        .parent()
        .context("the lab's own program is in no folder")?;
    for program in programs {
        let path = folder.join(program);
        anyhow::ensure!(
            path.exists(),
            "{} is missing: cargo build --workspace --locked --bins",
            path.display()
        );
    }
    Ok(folder.to_owned())
}

/// Makes databases and topics, and says where everything is; `pids` is left to the board.
///
/// # Errors
/// Something can't be made.
pub(crate) async fn prepare(
    home: &Home,
    programs: &Path,
    servers: &Servers,
    settings: &Settings,
) -> anyhow::Result<Stack> {
    let topic = |name: &str| format!("{}{name}", settings.topic_prefix);
    let topics = [topic("wallet.events"), topic("bill.events")];
    let topics = topics.each_ref().map(String::as_str);
    servers.create_topics(&topics, PARTITIONS).await?;
    let server = &servers.database_url;
    let (wallet_database_url, bill_payer_database_url) = try_join(
        databases::prepare(home, programs, server, databases::WALLET),
        databases::prepare(home, programs, server, databases::BILL_PAYER),
    )
    .await?;
    let ports = &settings.ports;
    Ok(Stack {
        wallet_api: base_url(ports.wallet_api_port),
        bill_payer: base_url(ports.bill_payer_port),
        mock_provider: base_url(ports.mock_provider_port),
        lab: base_url(ports.lab_port),
        relays: (0..=WALLET_RELAYS)
            .map(|nth| base_url(ports.relay(nth)))
            .collect(),
        wallet_database_url,
        bill_payer_database_url,
        kafka_brokers: servers.kafka_brokers.clone(),
        relay_mode: settings.relay_mode.clone(),
        pids: std::collections::BTreeMap::new(),
    })
}

/// The services, in no order: each waits for what it needs.
pub(crate) fn services(
    home: &Home,
    programs: &Path,
    stack: &Stack,
    settings: &Settings,
) -> Vec<Part> {
    let ports = &settings.ports;
    let wallet = &stack.wallet_database_url;
    let bills = &stack.bill_payer_database_url;
    let service = |name: &str, program: &str, port, env: Vec<(&'static str, String)>| {
        let address = base_url(port);
        let common = [
            ("LISTEN", listen(port)),
            ("TOPIC_PREFIX", settings.topic_prefix.clone()),
        ];
        Part {
            name: name.to_owned(),
            tier: Tier::Service,
            program: programs.join(program),
            args: Vec::new(),
            env: common.into_iter().chain(env).collect(),
            user: None,
            ready: Ready::Http(format!("{address}/readyz")),
            ready_within: Duration::from_secs(60),
            address,
        }
    };
    let data = |database: &str| {
        vec![
            ("DATABASE_URL", database.to_owned()),
            ("KAFKA_BROKERS", stack.kafka_brokers.clone()),
        ]
    };
    let relay = |name: String, nth, database| {
        let mut env = data(database);
        env.push(("RELAY_MODE", settings.relay_mode.clone()));
        service(&name, "relay", ports.relay(nth), env)
    };
    let journal = home.provider_journal().display().to_string();
    let mut bill_payer = data(bills);
    bill_payer.push(("PROVIDER_URL", stack.mock_provider.clone()));
    let mut parts = vec![
        service(
            "mock-provider",
            "mock-provider",
            ports.mock_provider_port,
            vec![("PROVIDER_JOURNAL", journal)],
        ),
        service(
            "wallet-api",
            "wallet-api",
            ports.wallet_api_port,
            data(wallet),
        ),
        service(
            "bill-payer",
            "bill-payer",
            ports.bill_payer_port,
            bill_payer,
        ),
    ];
    parts.extend(
        (0..WALLET_RELAYS).map(|nth| relay(format!("relay-wallet-{}", nth + 1), nth, wallet)),
    );
    parts.push(relay("relay-bill".to_owned(), WALLET_RELAYS, bills));
    parts
}

fn listen(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// Where a service answers.
pub(crate) fn base_url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}
