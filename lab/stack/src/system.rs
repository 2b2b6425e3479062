//! Our services as processes: which programs run, with what settings, where.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use crate::config::{Settings, WALLET_RELAYS};
use crate::home::Home;
use crate::ports::base_url;
use crate::process_spec::{ProcessSpec, Ready};
use crate::shutdown_order::ShutdownOrder;
use crate::stack::Stack;

pub const PROGRAMS: [&str; 4] = ["mock-provider", "wallet-api", "bill-payer", "relay"];

/// Variables of the services that the lab sets, whatever the environment says, and that are no settings of its own.
pub const OWN_VARIABLES: [&str; 4] = ["LAB", "LISTEN", "PROVIDER_JOURNAL", "PROVIDER_URL"];

/// The folder with the programs: the lab's own.
pub fn programs() -> anyhow::Result<PathBuf> {
    folder_of(&PROGRAMS)
}

/// The folder with `programs`: the lab's own.
pub fn folder_of(programs: &[&str]) -> anyhow::Result<PathBuf> {
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

/// The services, in no particular order: each waits for what it needs.
pub fn services(
    home: &Home,
    programs: &Path,
    stack: &Stack,
    settings: &Settings,
) -> Vec<ProcessSpec> {
    let ports = &settings.ports;
    let wallet = &stack.wallet_database_url;
    let bills = &stack.bill_payer_database_url;
    let service = |name: &str, port, env: Vec<(&'static str, String)>| {
        service(programs, &settings.topic_prefix, name, name, port, env)
    };
    let journal = home.provider_journal().display().to_string();
    let mut bill_payer = data(stack, bills);
    bill_payer.push(("PROVIDER_URL", stack.mock_provider.clone()));
    let mut wallet_api = data(stack, wallet);
    wallet_api.push(("LAB", "true".to_owned()));
    let mut parts = vec![
        service(
            "mock-provider",
            ports.mock_provider_port,
            vec![("PROVIDER_JOURNAL", journal)],
        ),
        service("wallet-api", ports.wallet_api_port, wallet_api),
        service("bill-payer", ports.bill_payer_port, bill_payer),
    ];
    parts.extend(relays(programs, stack, settings));
    parts
}

/// Those of the services that relay.
pub fn relays(programs: &Path, stack: &Stack, settings: &Settings) -> Vec<ProcessSpec> {
    let relay = |name: String, nth, database: &str| {
        let port = settings.ports.relay(nth);
        let mut env = data(stack, database);
        env.push(("RELAY_MODE", stack.relay_mode.to_string()));
        // What a mode has left there is removed by the next one.
        let connect_url = stack
            .connect_url
            .clone()
            .or_else(|| settings.connect_url.clone());
        env.push((
            "CONNECT_URL",
            connect_url.unwrap_or_else(|| base_url(settings.ports.connect_port)),
        ));
        service(programs, &settings.topic_prefix, &name, "relay", port, env)
    };
    let of_wallet = (0..WALLET_RELAYS).map(|nth| (nth, &stack.wallet_database_url));
    let all = of_wallet.chain([(WALLET_RELAYS, &stack.bill_payer_database_url)]);
    all.map(|(nth, database)| relay(relay_name(nth), nth, database))
        .collect()
}

/// The name of a relay: 0 and 1 are the wallet's, 2 is the bill payer's.
pub fn relay_name(nth: u16) -> String {
    if nth < WALLET_RELAYS {
        format!("relay-wallet-{}", nth + 1)
    } else {
        "relay-bill".to_owned()
    }
}

/// The settings of every service with a database.
fn data(stack: &Stack, database: &str) -> Vec<(&'static str, String)> {
    vec![
        ("DATABASE_URL", database.to_owned()),
        ("KAFKA_BROKERS", stack.kafka_brokers.clone()),
    ]
}

/// One of our services, on `port`; `env` are its settings besides where to listen and the topics' prefix.
pub fn service(
    programs: &Path,
    topic_prefix: &str,
    name: &str,
    program: &str,
    port: u16,
    env: Vec<(&'static str, String)>,
) -> ProcessSpec {
    let address = base_url(port);
    let common = [
        ("LISTEN", listen(port)),
        ("TOPIC_PREFIX", topic_prefix.to_owned()),
    ];
    ProcessSpec {
        name: name.to_owned(),
        shutdown_order: ShutdownOrder::Service,
        program: programs.join(program),
        args: Vec::new(),
        env: common.into_iter().chain(env).collect(),
        user: None,
        ready: Ready::Http(format!("{address}/readyz")),
        ready_within: Duration::from_secs(60),
        address,
    }
}

fn listen(port: u16) -> String {
    format!("127.0.0.1:{port}")
}
