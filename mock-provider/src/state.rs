//! The provider's state: each change is decided, written to the journal if there is one, and only then
//! remembered, so that a crash forgets nothing that a response has reported.

use std::path::Path;
use std::time::{Duration, Instant};

use chassis::Problem;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::behaviour::{Behaviour, BehaviourError, Fate};
use crate::journal::{AppendError, Journal, OpenError};
use crate::ledger::{Call, Change, Ledger, Outcome, Verdict};

#[derive(Debug)]
pub(crate) struct State {
    ledger: Ledger,
    behaviour: Behaviour,
    journal: Option<Journal>,
    /// When the last response is due that is held back and that a caller waits for.
    responses_due: Instant,
    stopping: bool,
}

/// A line of the journal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Entry {
    Payments(Change),
    Behaviour(Behaviour),
}

/// Why a behaviour was not set.
#[derive(Debug, thiserror::Error)]
pub enum BehaveError {
    #[error(transparent)]
    Invalid(#[from] BehaviourError),
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl State {
    /// Returns an empty state, or that of the journal.
    pub(crate) fn open(journal: Option<&Path>) -> Result<Self, OpenError> {
        let mut state = Self {
            ledger: Ledger::default(),
            behaviour: Behaviour::default(),
            journal: None,
            responses_due: Instant::now(),
            stopping: false,
        };
        if let Some(path) = journal {
            state.journal = Some(Journal::open(path, |entry| state.remember(entry))?);
        }
        Ok(state)
    }

    pub(crate) const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub(crate) const fn behaviour(&self) -> &Behaviour {
        &self.behaviour
    }

    /// Why the last write of the journal failed, if it did.
    pub(crate) fn journal_failure(&self) -> Option<&str> {
        self.journal.as_ref()?.failure()
    }

    /// Refuses changes once the provider is stopping.
    pub(crate) fn check_open(&self) -> Result<(), Problem> {
        if self.stopping {
            return Err(Problem::unavailable(
                "the provider is stopping; nothing was done",
            ));
        }
        Ok(())
    }

    /// Refuses changes from now on; returns when the last response is due that a caller waits for.
    pub(crate) const fn begin_to_stop(&mut self) -> Instant {
        self.stopping = true;
        self.responses_due
    }

    /// Leaves the journal to the next provider.
    pub(crate) fn close(&mut self) {
        self.stopping = true;
        self.journal = None;
    }

    /// Serves a call; returns how it ends, and how long to hold the response back.
    pub(crate) fn pay(&mut self, call: Call) -> Result<(Outcome, Duration), AppendError> {
        let account_number = &call.bill.account_number;
        let earlier = self.ledger.calls_of(&call.reference);
        let fate = self
            .behaviour
            .fate(self.behaviour.roll(account_number, earlier));
        let wait = self.behaviour.wait(fate);
        let (outcome, change) = if fate == Fate::ServerError {
            let reference = call.reference;
            (Outcome::ServerError, Change::Called { reference })
        } else if self.behaviour.declines(fate, account_number) {
            self.ledger.decide(call, Verdict::Decline)
        } else {
            let receipt = format!("receipt-{}", Uuid::now_v7());
            self.ledger.decide(call, Verdict::Accept { receipt })
        };
        self.record(Entry::Payments(change))?;
        // A late response is meant to be lost: no caller is expected to wait for it.
        if fate != Fate::Timeout {
            self.responses_due = self.responses_due.max(Instant::now() + wait);
        }
        Ok((outcome, wait))
    }

    /// Cancels a payment, unless its money was taken.
    pub(crate) fn cancel(&mut self, reference: &str) -> Result<(), AppendError> {
        match self.ledger.cancel(reference) {
            Some(change) => self.record(Entry::Payments(change)),
            None => Ok(()),
        }
    }

    pub(crate) fn behave(&mut self, behaviour: Behaviour) -> Result<(), BehaveError> {
        behaviour.check()?;
        Ok(self.record(Entry::Behaviour(behaviour))?)
    }

    /// Forgets all payments and keeps the behaviour.
    pub(crate) fn forget(&mut self) -> Result<(), AppendError> {
        if let Some(journal) = &mut self.journal {
            journal.truncate()?;
        }
        self.ledger = Ledger::default();
        self.record(Entry::Behaviour(self.behaviour.clone()))
    }

    fn record(&mut self, entry: Entry) -> Result<(), AppendError> {
        if let Some(journal) = &mut self.journal {
            journal.append(&entry)?;
        }
        self.remember(entry);
        Ok(())
    }

    fn remember(&mut self, entry: Entry) {
        match entry {
            Entry::Payments(change) => self.ledger.apply(change),
            Entry::Behaviour(behaviour) => self.behaviour = behaviour,
        }
    }
}
