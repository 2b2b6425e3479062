//! What the provider remembers: each change is decided, written to the journal if there is one, and only
//! then remembered, so that no answer tells of what a crash forgets.

use std::path::Path;
use std::time::Duration;

use crate::behaviour::{Behaviour, BehaviourError, Fate};
use crate::journal::{AppendError, Entry, Journal, OpenError};
use crate::ledger::{Call, Change, Ledger, Outcome, Payment, Verdict};

/// The payments and the behaviour, and where they are kept.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    ledger: Ledger,
    behaviour: Behaviour,
    journal: Option<Journal>,
}

/// What came of a call of `POST /payments`.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) result: CallResult,
    /// How long the answer is to be held back.
    pub(crate) wait: Duration,
    /// The answer is meant to be lost: the caller is not expected to wait for it.
    pub(crate) lost: bool,
}

/// What a caller is told.
#[derive(Debug)]
pub(crate) enum CallResult {
    /// The provider has failed, as it was told to.
    ServerError,
    /// The payment as it is now.
    Decided(Outcome, Payment),
}

/// Why a behaviour was not set.
#[derive(Debug, thiserror::Error)]
pub enum BehaveError {
    /// A setting is out of range.
    #[error(transparent)]
    Invalid(#[from] BehaviourError),
    /// The journal can't be written.
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl Memory {
    /// An empty memory, or what the journal tells.
    pub(crate) fn open(journal: Option<&Path>) -> Result<Self, OpenError> {
        let mut memory = Self::default();
        if let Some(path) = journal {
            memory.journal = Some(Journal::open(path, |entry| memory.remember(entry))?);
        }
        Ok(memory)
    }

    pub(crate) const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub(crate) const fn behaviour(&self) -> &Behaviour {
        &self.behaviour
    }

    /// Why the journal could not be written the last time, if that failed.
    pub(crate) fn journal_failure(&self) -> Option<&str> {
        self.journal.as_ref()?.failure()
    }

    /// The throw of the dice for a call, if it is not left to chance.
    pub(crate) fn seeded_roll(&self, call: &Call) -> Option<f64> {
        let earlier = self.ledger.calls_of(&call.reference);
        let account_number = &call.bill.account_number;
        self.behaviour.seeded_roll(account_number, earlier)
    }

    /// Takes a call: `roll` is a throw of the dice from 0 to 1, `receipt` is for money taken now.
    pub(crate) fn pay(
        &mut self,
        call: Call,
        roll: f64,
        receipt: String,
    ) -> Result<Answered, AppendError> {
        let fate = self.behaviour.fate(roll);
        let wait = self.behaviour.wait(fate);
        let lost = fate == Fate::Timeout;
        let reference = call.reference.clone();
        if fate == Fate::ServerError {
            self.change(Change::Called { reference })?;
            let result = CallResult::ServerError;
            return Ok(Answered { result, wait, lost });
        }
        let verdict = if self.behaviour.declines(fate, &call.bill.account_number) {
            Verdict::Decline
        } else {
            Verdict::Accept { receipt }
        };
        let (outcome, change) = self.ledger.decide(call, verdict);
        self.change(change)?;
        let result = CallResult::Decided(outcome, self.known(&reference));
        Ok(Answered { result, wait, lost })
    }

    /// Cancels a payment, unless its money was taken; returns it as it is now.
    pub(crate) fn cancel(&mut self, reference: &str) -> Result<Payment, AppendError> {
        if let Some(change) = self.ledger.cancel(reference) {
            self.change(change)?;
        }
        Ok(self.known(reference))
    }

    /// Takes all settings from `behaviour`.
    pub(crate) fn behave(&mut self, behaviour: Behaviour) -> Result<(), BehaveError> {
        behaviour.check()?;
        self.record(Entry::Behaviour(behaviour))?;
        Ok(())
    }

    /// Forgets all payments. The behaviour stays.
    pub(crate) fn forget(&mut self) -> Result<(), AppendError> {
        if let Some(journal) = &mut self.journal {
            journal.truncate()?;
        }
        self.ledger = Ledger::default();
        self.record(Entry::Behaviour(self.behaviour.clone()))
    }

    /// Leaves the journal to the next one who opens it; from here on nothing may be changed.
    pub(crate) fn close(&mut self) {
        self.journal = None;
    }

    fn change(&mut self, change: Change) -> Result<(), AppendError> {
        self.record(Entry::Payments(change))
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

    fn known(&self, reference: &str) -> Payment {
        let payment = self.ledger.find(reference);
        payment
            .expect("a payment that was just decided about is remembered")
            .clone()
    }
}
