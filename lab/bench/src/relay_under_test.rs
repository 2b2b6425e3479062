//! A relay that is measured, as data.

use lab_stack::process_spec::ProcessSpec;
use lab_stack::relay_mode::RelayMode;

/// Where the relay is when the backlog comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// Paused at work (SIGSTOP), and then resumed: cdc has its stream open and receives the whole backlog from it.
    HeldUp,
    /// Not running: cdc finds the backlog in the table first, as every relay that is started does.
    Down,
}

/// How a backlog may meet a relay of the mode.
pub(super) const fn starts(mode: RelayMode) -> &'static [Start] {
    match mode {
        RelayMode::Poller | RelayMode::Cdc => &[Start::HeldUp, Start::Down],
        // While the relay is down, Kafka Connect continues to publish.
        RelayMode::Debezium => &[Start::HeldUp],
    }
}

/// A relay that is to run on a copy, with all that it needs.
pub(super) struct RelayUnderTest {
    /// Started before the relay; their memory and CPU time count as the relay's.
    pub(super) dependencies: Vec<ProcessSpec>,
    pub(super) relay: ProcessSpec,
}

impl RelayUnderTest {
    /// The relay first: the order to stop in.
    pub(super) fn names(&self) -> Vec<String> {
        let parts = std::iter::once(&self.relay).chain(&self.dependencies);
        parts.map(|part| part.name.clone()).collect()
    }
}
