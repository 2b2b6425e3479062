//! The relay's modes, as data: what is measured is the same for all.

use std::fmt;

use super::drain::Start;
use crate::bench::database::Copy;
use crate::bench::stage::Stage;
use crate::part::Part;

/// A value of `RELAY_MODE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Poller,
    Cdc,
    Debezium,
}

/// What a mode needs beside the relay: it runs before the relay is started, and its memory and CPU
/// time count as the relay's.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// What has to run.
    pub parts: Vec<Part>,
    /// What the relay has to be told of it.
    pub env: Vec<(&'static str, String)>,
}

impl Mode {
    /// In the order of a round.
    pub(super) const ALL: [Self; 3] = [Self::Poller, Self::Cdc, Self::Debezium];

    /// How a backlog may meet it.
    pub(super) const fn starts(self) -> &'static [Start] {
        match self {
            Self::Poller | Self::Cdc => &[Start::HeldUp, Start::Down],
            // While the relay is down, Kafka Connect goes on.
            Self::Debezium => &[Start::HeldUp],
        }
    }

    /// Whether it reads a replication slot once it is up.
    pub(super) const fn streams(self) -> bool {
        match self {
            Self::Poller => false,
            Self::Cdc | Self::Debezium => true,
        }
    }

    async fn beside(self, stage: &Stage<'_>, copy: &Copy) -> anyhow::Result<Beside> {
        Ok(match self {
            Self::Poller | Self::Cdc => Beside::default(),
            Self::Debezium => {
                let connect = stage.connect(copy).await?;
                Beside {
                    env: vec![("CONNECT_URL", connect.address.clone())],
                    parts: vec![connect],
                }
            }
        })
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Poller => "poller",
            Self::Cdc => "cdc",
            Self::Debezium => "debezium",
        })
    }
}

/// A relay of a mode that is to run on a copy, with all that it needs.
pub(super) struct Crew {
    mode: Mode,
    /// Started first.
    beside: Vec<Part>,
    relay: Part,
}

impl Crew {
    /// Of one relay, not started.
    pub(super) async fn new(stage: &Stage<'_>, mode: Mode, copy: &Copy) -> anyhow::Result<Self> {
        let beside = mode.beside(stage, copy).await?;
        let mut env = vec![("RELAY_MODE", mode.to_string())];
        env.extend(beside.env);
        Ok(Self {
            mode,
            beside: beside.parts,
            relay: stage.service("relay", copy, env)?,
        })
    }

    /// The mode of the relay.
    pub(super) const fn mode(&self) -> Mode {
        self.mode
    }

    /// The relay alone.
    pub(super) fn relay(&self) -> Part {
        self.relay.clone()
    }

    /// What has to run before the relay.
    pub(super) fn beside(&self) -> Vec<Part> {
        self.beside.clone()
    }

    /// The names of all parts, the relay first: the order to stop in.
    pub(super) fn names(&self) -> Vec<String> {
        let parts = std::iter::once(&self.relay).chain(&self.beside);
        parts.map(|part| part.name.clone()).collect()
    }
}
