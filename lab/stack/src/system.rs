//! Our services as processes: which programs run, with what settings, where.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use crate::config::{Settings, WALLET_RELAYS};
use crate::connect;
use crate::home::Home;
use crate::ports::base_url;
use crate::process_spec::{ProcessSpec, Ready};
use crate::shutdown_order::ShutdownOrder;
use crate::stack::Stack;
use crate::url;

pub const PROGRAMS: [&str; 4] = ["mock-provider", "wallet-api", "bill-payer", "relay"];

/// Variables of the services that the lab sets, whatever the environment says, and that are no settings of its own.
pub const OWN_VARIABLES: [&str; 5] = [
    "ADMIN_LISTEN",
    "LAB",
    "LISTEN",
    "PROVIDER_JOURNAL",
    "PROVIDER_URL",
];

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
    let service = |name: &str, listen, env: Vec<(&'static str, String)>| {
        service(programs, &settings.topic_prefix, name, name, listen, env)
    };
    let journal = home.provider_journal().display().to_string();
    let mut bill_payer = data(
        stack,
        settings,
        &stack.bill_payer_database_url,
        "bill_payer",
    );
    bill_payer.push(("PROVIDER_URL", stack.mock_provider.clone()));
    let mut wallet_api = data(stack, settings, &stack.wallet_database_url, "wallet_api");
    wallet_api.push(("LAB", "true".to_owned()));
    let mut parts = vec![
        service(
            "mock-provider",
            ServicePorts::everybody(ports.mock_provider_port),
            vec![("PROVIDER_JOURNAL", journal)],
        ),
        service(
            "wallet-api",
            ServicePorts {
                customers: Some(ports.wallet_api_port),
                operators: Some(ports.wallet_api_admin_port),
            },
            wallet_api,
        ),
        service(
            "bill-payer",
            ServicePorts::operators(ports.bill_payer_port),
            bill_payer,
        ),
    ];
    parts.extend(relays(programs, home, stack, settings));
    parts
}

/// Those of the services that relay.
pub fn relays(
    programs: &Path,
    home: &Home,
    stack: &Stack,
    settings: &Settings,
) -> Vec<ProcessSpec> {
    let relay = |nth, database: &str, role| {
        let port = ServicePorts::operators(settings.ports.relay(nth));
        let mut env = data(stack, settings, database, role);
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
        if settings.connect_url.is_none() && settings.has_own_roles() {
            let reference = connect::password_reference(home, role);
            env.push(("CONNECT_DATABASE_PASSWORD", reference));
        }
        let name = relay_name(nth);
        service(programs, &settings.topic_prefix, &name, "relay", port, env)
    };
    let of_wallet = |nth| relay(nth, &stack.wallet_database_url, "wallet_relay");
    let of_bills = relay(WALLET_RELAYS, &stack.bill_payer_database_url, "bill_relay");
    (0..WALLET_RELAYS)
        .map(of_wallet)
        .chain([of_bills])
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

/// The settings of every service with a database; `role` is its own on a server of the lab's.
fn data(
    stack: &Stack,
    settings: &Settings,
    database: &str,
    role: &str,
) -> Vec<(&'static str, String)> {
    let url = if settings.has_own_roles() {
        url::as_role(database, role).expect("the lab made the URL")
    } else {
        database.to_owned()
    };
    vec![
        ("DATABASE_URL", url),
        ("KAFKA_BROKERS", stack.kafka_brokers.clone()),
    ]
}

/// Where a service listens.
#[derive(Debug, Clone, Copy)]
pub struct ServicePorts {
    /// `LISTEN`
    pub customers: Option<u16>,
    /// `ADMIN_LISTEN`
    pub operators: Option<u16>,
}

impl ServicePorts {
    /// One port for all, as the provider has it.
    pub const fn everybody(port: u16) -> Self {
        Self {
            customers: Some(port),
            operators: None,
        }
    }

    /// A service without customers.
    pub const fn operators(port: u16) -> Self {
        Self {
            customers: None,
            operators: Some(port),
        }
    }
}

/// One of our services; `env` are its settings besides where to listen and the topics' prefix.
pub fn service(
    programs: &Path,
    topic_prefix: &str,
    name: &str,
    program: &str,
    ports: ServicePorts,
    env: Vec<(&'static str, String)>,
) -> ProcessSpec {
    let ServicePorts {
        customers,
        operators,
    } = ports;
    let address = customers.or(operators).map(base_url).unwrap_or_default();
    let health = operators.or(customers).map(base_url).unwrap_or_default();
    let listens = [("LISTEN", customers), ("ADMIN_LISTEN", operators)];
    let common = listens
        .into_iter()
        .filter_map(|(variable, port)| Some((variable, format!("127.0.0.1:{}", port?))))
        .chain([("TOPIC_PREFIX", topic_prefix.to_owned())]);
    ProcessSpec {
        name: name.to_owned(),
        shutdown_order: ShutdownOrder::Service,
        program: programs.join(program),
        args: Vec::new(),
        env: common.chain(env).collect(),
        user: None,
        ready: Ready::Http(format!("{health}/readyz")),
        ready_within: Duration::from_secs(60),
        address,
    }
}
