//! The payments that the provider remembers, and what it decides about a call. Pure: no clock, no chance, no I/O.
//!
//! Promises: a key's money is taken at most once; a receipt never changes; a cancelled key is never
//! accepted. To decide and to remember are two steps, so that a [`Change`] can be written to the journal between them,
//! and a replay of all changes makes the same ledger.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

use crate::bill::Bill;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    /// The money was taken.
    Accepted,
    /// Refused for good; no money was taken.
    Declined,
    /// Cancelled by the caller before any money was taken; none ever will be.
    Cancelled,
}

/// A payment that was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Payment {
    /// The caller's id of the payment: the idempotency key.
    pub(crate) reference: String,
    pub(crate) status: Status,
    /// Proof of the money taken: of an accepted payment only.
    pub(crate) receipt: Option<String>,
    /// `None` if the payment was cancelled before a call that could be served.
    pub(crate) bill: Option<Bill>,
    /// How often `POST /payments` was called with this key.
    pub(crate) calls: u64,
    /// The W3C trace context of the call that was decided.
    pub(crate) traceparent: Option<String>,
}

/// A call of `POST /payments`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Call {
    pub(crate) reference: String,
    pub(crate) bill: Bill,
    pub(crate) traceparent: Option<String>,
}

/// What is decided about the first call of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accept { receipt: String },
    Decline,
}

/// How a call ends; the words are those of logs and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Outcome {
    /// The provider failed on demand; nothing was decided.
    ServerError,
    /// The money is taken, now.
    Accepted,
    /// The money was taken by an earlier call.
    Repeated,
    /// Refused for good, now or by an earlier call.
    Declined,
    /// Refused, because the caller has cancelled the payment.
    Cancelled,
    /// Refused, because the key stands for another bill.
    KeyReused,
}

/// One change of the ledger, as the journal keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Change {
    /// A call that only counts.
    Called {
        reference: String,
    },
    /// The first call, with the money taken.
    Accepted {
        call: Call,
        receipt: String,
    },
    /// The first call, refused for good.
    Declined {
        call: Call,
    },
    Cancelled {
        reference: String,
    },
}

/// All payments, by reference and in the order of their decisions.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    payments: Vec<Payment>,
    positions: HashMap<String, usize>,
    /// Calls of keys without a decision: the response to all of them was 500.
    undecided_calls: HashMap<String, u64>,
    calls: u64,
    accepted: u64,
}

/// Payments, newest first.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page<'a> {
    pub(crate) payments: Vec<&'a Payment>,
    /// The `before` of the next page; `None` on the last page.
    pub(crate) next_before: Option<usize>,
}

impl Ledger {
    /// Calls of `POST /payments` for one key so far.
    pub(crate) fn calls_of(&self, reference: &str) -> u64 {
        let undecided = self.undecided_calls.get(reference).copied();
        let decided = self.find(reference).map(|payment| payment.calls);
        decided.or(undecided).unwrap_or(0)
    }

    /// Calls of `POST /payments` so far.
    pub(crate) const fn calls(&self) -> u64 {
        self.calls
    }

    /// Payments whose money was taken.
    pub(crate) const fn accepted(&self) -> u64 {
        self.accepted
    }

    pub(crate) fn find(&self, reference: &str) -> Option<&Payment> {
        self.payments.get(*self.positions.get(reference)?)
    }

    /// Returns up to `limit` payments, newest first, older than the cursor `before`. Takes as long as the
    /// page is, however many payments there are.
    pub(crate) fn page(&self, limit: usize, before: Option<usize>) -> Page<'_> {
        let end = before.unwrap_or(usize::MAX).min(self.payments.len());
        let start = end.saturating_sub(limit);
        let payments = self.payments.get(start..end).unwrap_or_default();
        Page {
            payments: payments.iter().rev().collect(),
            next_before: (start > 0).then_some(start),
        }
    }

    /// Decides how a call ends and what it changes; `verdict` is for the first call of a key.
    pub(crate) fn decide(&self, call: Call, verdict: Verdict) -> (Outcome, Change) {
        let Some(payment) = self.find(&call.reference) else {
            return match verdict {
                Verdict::Accept { receipt } => {
                    (Outcome::Accepted, Change::Accepted { call, receipt })
                }
                Verdict::Decline => (Outcome::Declined, Change::Declined { call }),
            };
        };
        let same_bill = payment.bill.as_ref() == Some(&call.bill);
        let outcome = match payment.status {
            // For any bill: the key is refused for good.
            Status::Cancelled => Outcome::Cancelled,
            Status::Accepted | Status::Declined if !same_bill => Outcome::KeyReused,
            Status::Accepted => Outcome::Repeated,
            Status::Declined => Outcome::Declined,
        };
        let reference = call.reference;
        (outcome, Change::Called { reference })
    }

    /// Returns what a cancellation changes: nothing if the money was taken or the payment is cancelled already.
    pub(crate) fn cancel(&self, reference: &str) -> Option<Change> {
        match self.find(reference).map(|payment| payment.status) {
            Some(Status::Accepted | Status::Cancelled) => None,
            Some(Status::Declined) | None => Some(Change::Cancelled {
                reference: reference.to_owned(),
            }),
        }
    }

    /// Remembers a change that was decided on this ledger.
    pub(crate) fn apply(&mut self, change: Change) {
        match change {
            Change::Called { reference } => {
                self.calls += 1;
                match self.find_mut(&reference) {
                    Some(payment) => payment.calls += 1,
                    None => *self.undecided_calls.entry(reference).or_default() += 1,
                }
            }
            Change::Accepted { call, receipt } => {
                self.accepted += 1;
                self.add_call(call, Status::Accepted, Some(receipt));
            }
            Change::Declined { call } => self.add_call(call, Status::Declined, None),
            Change::Cancelled { reference } => match self.find_mut(&reference) {
                Some(payment) => payment.status = Status::Cancelled,
                None => self.add(Payment {
                    reference,
                    status: Status::Cancelled,
                    receipt: None,
                    bill: None,
                    calls: 0,
                    traceparent: None,
                }),
            },
        }
    }

    fn find_mut(&mut self, reference: &str) -> Option<&mut Payment> {
        self.payments.get_mut(*self.positions.get(reference)?)
    }

    fn add_call(&mut self, call: Call, status: Status, receipt: Option<String>) {
        self.calls += 1;
        self.add(Payment {
            reference: call.reference,
            status,
            receipt,
            bill: Some(call.bill),
            calls: 1,
            traceparent: call.traceparent,
        });
    }

    fn add(&mut self, mut payment: Payment) {
        let earlier_calls = self.undecided_calls.remove(&payment.reference);
        payment.calls += earlier_calls.unwrap_or(0);
        let position = self.payments.len();
        self.positions.insert(payment.reference.clone(), position);
        self.payments.push(payment);
    }
}

#[cfg(test)]
#[path = "../tests/unit/ledger.rs"]
mod tests;
