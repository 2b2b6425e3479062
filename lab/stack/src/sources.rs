//! Where PostgreSQL, Kafka and Kafka Connect come from: given, or started here.

/// Where the database server comes from.
#[derive(Debug, Clone)]
pub enum Database {
    /// It is there, at this URL.
    Given(String),
    /// It is started.
    Start {
        /// Where it will listen.
        port: u16,
        /// How well it keeps its data.
        durability: Durability,
    },
}

/// Where the broker comes from.
#[derive(Debug, Clone)]
pub enum Broker {
    /// It is there, at these addresses.
    Given(String),
    /// The mock cluster in this process.
    Embedded,
    /// Kafka is started.
    Start(KafkaPorts),
}

/// Where Kafka Connect comes from.
#[derive(Debug, Clone)]
pub enum Connect {
    /// Nobody needs it.
    None,
    /// It is there, at this URL.
    Given(String),
    /// It is started.
    Start {
        /// Where it will listen.
        port: u16,
    },
}

/// Where each comes from.
#[derive(Debug, Clone)]
pub struct Sources {
    /// PostgreSQL.
    pub database: Database,
    /// Kafka.
    pub broker: Broker,
    /// Kafka Connect.
    pub connect: Connect,
}

/// How well the data is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Through a crash of the machine.
    Full,
    /// Not at all: faster, for tests.
    None,
}

/// Where the broker and its controller listen.
#[derive(Debug, Clone, Copy)]
pub struct KafkaPorts {
    /// For clients.
    pub broker: u16,
    /// For itself.
    pub controller: u16,
}
