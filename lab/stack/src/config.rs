//! The settings of `up`; each is a flag and an environment variable.

use std::net::{IpAddr, Ipv4Addr};

use chassis::hosts::Hosts;

use crate::ports::WantedPort;
use crate::relay_mode::RelayMode;
use crate::sources::{Broker, Connect, Database, Durability, KafkaPorts, Sources};

#[derive(Debug, Clone, clap::Args)]
pub struct Settings {
    /// PostgreSQL server to use instead of starting one, such as `postgres://user:password@host:5432`; the user
    /// must be allowed to create the databases `wallet` and `bill_payer`
    #[arg(long, env, hide_env_values = true)]
    pub database_url: Option<String>,
    /// Kafka brokers to use instead of starting one, host:port separated by commas
    #[arg(long, env)]
    pub kafka_brokers: Option<String>,
    /// Kafka Connect to use instead of starting one, in relay mode debezium
    #[arg(long, env)]
    pub connect_url: Option<String>,
    /// Which broker to start; Kafka by default, the embedded one where there is no Java
    #[arg(long, env, value_enum)]
    pub broker: Option<BrokerKind>,
    /// Put before the name of every topic and consumer group
    #[arg(long, env, default_value = "")]
    pub topic_prefix: String,
    /// How the relays read the outbox
    #[arg(long, env, value_enum, default_value_t = RelayMode::Poller)]
    pub relay_mode: RelayMode,
    /// Where things listen, on 127.0.0.1.
    #[command(flatten)]
    pub ports: Ports,
    /// Where the page listens. Whoever reaches it can give commands: another address than 127.0.0.1 is for a container, whose
    /// published ports decide who does
    #[arg(long, env, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub lab_address: IpAddr,
    /// The names under which the page is reached; the services inherit the variable.
    #[command(flatten)]
    pub hosts: Hosts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum BrokerKind {
    /// Apache Kafka, on a JVM
    Kafka,
    /// librdkafka's mock cluster inside the lab process: nothing is kept after it
    Embedded,
}

/// Where things listen, on 127.0.0.1.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Ports")]
pub struct Ports {
    /// The wallet API
    #[arg(long, env, default_value_t = 8080, value_parser = port)]
    pub wallet_api_port: u16,
    /// The wallet API's operators
    #[arg(long, env, default_value_t = 9080, value_parser = port)]
    pub wallet_api_admin_port: u16,
    /// The bill payer
    #[arg(long, env, default_value_t = 8081, value_parser = port)]
    pub bill_payer_port: u16,
    /// The mock provider
    #[arg(long, env, default_value_t = 8082, value_parser = port)]
    pub mock_provider_port: u16,
    /// Kafka Connect, if it is started
    #[arg(long, env, default_value_t = 8083, value_parser = port)]
    pub connect_port: u16,
    /// The first of the three relays; the other two have the next ports
    #[arg(long, env, default_value_t = 8084, value_parser = first_of_three)]
    pub relay_port: u16,
    /// The lab itself
    #[arg(long, env, default_value_t = 8090, value_parser = port)]
    pub lab_port: u16,
    // Below 32768, where the ports of outgoing connections begin: a client that keeps trying to reach a
    // stopped server on a port above may get that very port, and connect to itself.
    /// PostgreSQL, if it is started
    #[arg(long, env, default_value_t = 15_432, value_parser = port)]
    pub postgres_port: u16,
    /// Kafka, if it is started
    #[arg(long, env, default_value_t = 9092, value_parser = port)]
    pub kafka_port: u16,
    /// Kafka's controller, if Kafka is started
    #[arg(long, env, default_value_t = 9093, value_parser = port)]
    pub kafka_controller_port: u16,
}

fn port(text: &str) -> Result<u16, &'static str> {
    let port = text.parse().ok().filter(|port| *port > 0);
    port.ok_or("a port is a number from 1 to 65535")
}

/// The first of three ports.
fn first_of_three(text: &str) -> Result<u16, &'static str> {
    let port = port(text)?;
    (port <= u16::MAX - WALLET_RELAYS)
        .then_some(port)
        .ok_or("the last of the three ports would be above 65535")
}

/// How many relays read the wallet's outbox.
pub const WALLET_RELAYS: u16 = 2;

impl Settings {
    /// Where the servers will come from. `has_java` tells whether those on a JVM can be run, `has_connectors` whether
    /// Kafka Connect is needed for its connectors to be deleted, whatever the mode.
    pub fn sources(
        &self,
        has_java: impl FnOnce() -> bool,
        has_connectors: bool,
    ) -> anyhow::Result<Sources> {
        let broker = self.broker(has_java);
        let mode = if has_connectors && matches!(broker, Broker::Start(_)) {
            RelayMode::Debezium
        } else {
            self.relay_mode
        };
        Ok(Sources {
            connect: self.connect(mode, &broker)?,
            database: self.database(),
            broker,
        })
    }

    /// Where Kafka Connect will come from, for relays in `mode`.
    pub fn connect(&self, mode: RelayMode, broker: &Broker) -> anyhow::Result<Connect> {
        Ok(match (mode, &self.connect_url) {
            (RelayMode::Poller | RelayMode::Cdc, _) => Connect::None,
            (RelayMode::Debezium, _) if matches!(broker, Broker::Embedded) => anyhow::bail!(
                "mode debezium needs a Kafka: the embedded broker is not enough for Kafka Connect"
            ),
            (RelayMode::Debezium, Some(url)) => Connect::Given(url.clone()),
            (RelayMode::Debezium, None) => Connect::Start {
                port: self.ports.connect_port,
            },
        })
    }

    fn database(&self) -> Database {
        match &self.database_url {
            Some(url) => Database::Given(url.clone()),
            None => Database::Start {
                port: self.ports.postgres_port,
                durability: Durability::Full,
            },
        }
    }

    fn broker(&self, has_java: impl FnOnce() -> bool) -> Broker {
        match (&self.kafka_brokers, self.broker) {
            (Some(brokers), _) => Broker::Given(brokers.clone()),
            (None, Some(BrokerKind::Embedded)) => Broker::Embedded,
            (None, None) if !has_java() => Broker::Embedded,
            (None, Some(BrokerKind::Kafka) | None) => Broker::Start(KafkaPorts {
                broker: self.ports.kafka_port,
                controller: self.ports.kafka_controller_port,
            }),
        }
    }

    /// Whether each service has a role of its own in PostgreSQL: on a server of the lab's own, where it can make them.
    pub const fn has_own_roles(&self) -> bool {
        self.database_url.is_none()
    }

    /// The ports that must be free, with who wants them.
    pub fn wanted_ports(&self, sources: &Sources) -> Vec<WantedPort> {
        let ports = &self.ports;
        let mut wanted = vec![
            WantedPort::new(ports.wallet_api_port, "wallet-api", "WALLET_API_PORT"),
            WantedPort::new(
                ports.wallet_api_admin_port,
                "wallet-api's operators",
                "WALLET_API_ADMIN_PORT",
            ),
            WantedPort::new(ports.bill_payer_port, "bill-payer", "BILL_PAYER_PORT"),
            WantedPort::new(
                ports.mock_provider_port,
                "mock-provider",
                "MOCK_PROVIDER_PORT",
            ),
            WantedPort::new(ports.lab_port, "lab", "LAB_PORT"),
        ];
        let relays = (0..=WALLET_RELAYS).map(|nth| ports.relay(nth));
        wanted.extend(relays.map(|port| WantedPort::new(port, "a relay", "RELAY_PORT")));
        if let Database::Start { port, .. } = &sources.database {
            wanted.push(WantedPort::new(*port, "postgres", "POSTGRES_PORT"));
        }
        if let Connect::Start { port } = &sources.connect {
            wanted.push(WantedPort::new(*port, "kafka connect", "CONNECT_PORT"));
        }
        if let Broker::Start(KafkaPorts { broker, controller }) = &sources.broker {
            wanted.push(WantedPort::new(*broker, "kafka", "KAFKA_PORT"));
            wanted.push(WantedPort::new(
                *controller,
                "kafka's controller",
                "KAFKA_CONTROLLER_PORT",
            ));
        }
        wanted
    }
}

impl Ports {
    /// The port of a relay: 0 and 1 are the wallet's, 2 is the bill payer's.
    pub const fn relay(&self, nth: u16) -> u16 {
        self.relay_port + nth
    }
}
