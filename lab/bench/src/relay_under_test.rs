//! A relay that is measured, as data.

use lab_stack::process_spec::ProcessSpec;
use lab_stack::relay_mode::RelayMode;

/// What the relay does when the backlog comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RelayState {
    /// It works.
    Running,
    /// It is paused at work (SIGSTOP), and then resumed.
    Paused,
    /// It is stopped, and then started.
    Stopped,
}

/// How a backlog may meet a relay of the mode.
pub(super) const fn states(mode: RelayMode) -> &'static [RelayState] {
    match mode {
        RelayMode::Poller | RelayMode::Cdc => &[RelayState::Paused, RelayState::Stopped],
        // While the relay is stopped, Kafka Connect continues to publish.
        RelayMode::Debezium => &[RelayState::Paused],
    }
}

/// A relay that is to run on a copy, with all that it needs.
pub(super) struct RelayUnderTest {
    /// Started before the relay; their memory and CPU time count as the relay's.
    pub(super) dependencies: Vec<ProcessSpec>,
    pub(super) relay: ProcessSpec,
}

impl RelayUnderTest {
    /// The names of all its processes.
    pub(super) fn names(&self) -> Vec<&str> {
        let parts = std::iter::once(&self.relay).chain(&self.dependencies);
        parts.map(|part| part.name.as_str()).collect()
    }
}
