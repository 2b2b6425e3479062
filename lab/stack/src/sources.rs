//! Where PostgreSQL, Kafka and Kafka Connect come from: given, or started here.

#[derive(Debug, Clone)]
pub enum Database {
    /// It is there, at this URL.
    Given(String),
    /// It is started.
    Start { port: u16, durability: Durability },
}

#[derive(Debug, Clone)]
pub enum Broker {
    /// It is there, at these addresses.
    Given(String),
    Embedded,
    /// Kafka is started.
    Start(KafkaPorts),
}

#[derive(Debug, Clone)]
pub enum Connect {
    /// Nobody needs it.
    None,
    /// It is there, at this URL.
    Given(String),
    /// It is started.
    Start { port: u16 },
}

#[derive(Debug, Clone)]
pub struct Sources {
    /// PostgreSQL.
    pub database: Database,
    /// Kafka.
    pub broker: Broker,
    /// Kafka Connect.
    pub connect: Connect,
}

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
