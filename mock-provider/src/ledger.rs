//! What the provider remembers of payments and what it decides about a call. Pure: no clock, no dice,
//! no I/O.
//!
//! Promises: a key's money is taken at most once; a receipt never changes; a cancelled key is never
//! accepted. Deciding and remembering are apart, so that a [`Change`] can be written down in between,
//! and replaying all changes makes the same ledger.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::bill::Bill;

/// What became of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The money was taken.
    Accepted,
    /// Refused for good; no money was taken.
    Declined,
    /// Cancelled by the caller before any money was taken; none ever will be.
    Cancelled,
}

/// A payment that was decided about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// The caller's id of it: the idempotency key.
    pub reference: String,
    /// What became of it.
    pub status: Status,
    /// Proof of the money taken: of an accepted payment only.
    pub receipt: Option<String>,
    /// What was to be paid; none if it was cancelled before a call that could be served.
    pub bill: Option<Bill>,
    /// How often `POST /payments` was called with this key.
    pub calls: u64,
    /// The W3C trace context of the call that was decided about.
    pub traceparent: Option<String>,
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

/// How a call ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
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

/// One change of the ledger: what the journal keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Change {
    /// Called, with no effect but the count.
    Called { reference: String },
    /// First call, the money taken.
    Accepted { call: Call, receipt: String },
    /// First call, refused for good.
    Declined { call: Call },
    /// Cancelled.
    Cancelled { reference: String },
}

/// All payments by reference and in the order in which they were decided about.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ledger {
    payments: Vec<Payment>,
    positions: HashMap<String, usize>,
    /// Calls of keys about which nothing is decided yet: all of them were answered 500.
    undecided_calls: HashMap<String, u64>,
    calls: u64,
    accepted: u64,
}

/// Payments, newest first.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page<'a> {
    pub(crate) payments: Vec<&'a Payment>,
    /// Pass it as `before` to get the next page; none when this is the last.
    pub(crate) next_before: Option<usize>,
}

impl Ledger {
    /// Calls of `POST /payments` for one key so far.
    pub(crate) fn calls_of(&self, reference: &str) -> u64 {
        let undecided = self.undecided_calls.get(reference).copied();
        let decided = self.find(reference).map(|payment| payment.calls);
        decided.or(undecided).unwrap_or(0)
    }

    /// Calls of `POST /payments` so far, whatever came of them.
    pub(crate) const fn calls(&self) -> u64 {
        self.calls
    }

    /// Payments whose money was taken.
    pub(crate) const fn accepted(&self) -> u64 {
        self.accepted
    }

    /// The payment of that reference.
    pub(crate) fn find(&self, reference: &str) -> Option<&Payment> {
        self.payments.get(*self.positions.get(reference)?)
    }

    /// Up to `limit` payments, newest first, older than the cursor `before`. Takes as long as the
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

    /// How a call ends and what it changes; `verdict` is for the first call of a key.
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
            // Whatever the bill is: the key is refused for good.
            Status::Cancelled => Outcome::Cancelled,
            Status::Accepted | Status::Declined if !same_bill => Outcome::KeyReused,
            Status::Accepted => Outcome::Repeated,
            Status::Declined => Outcome::Declined,
        };
        let reference = call.reference;
        (outcome, Change::Called { reference })
    }

    /// What cancelling changes: nothing when the money was taken or it was cancelled before.
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
                self.calls += 1;
                self.accepted += 1;
                self.add(Payment {
                    reference: call.reference,
                    status: Status::Accepted,
                    receipt: Some(receipt),
                    bill: Some(call.bill),
                    calls: 1,
                    traceparent: call.traceparent,
                });
            }
            Change::Declined { call } => {
                self.calls += 1;
                self.add(Payment {
                    reference: call.reference,
                    status: Status::Declined,
                    receipt: None,
                    bill: Some(call.bill),
                    calls: 1,
                    traceparent: call.traceparent,
                });
            }
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

    fn add(&mut self, mut payment: Payment) {
        let earlier_calls = self.undecided_calls.remove(&payment.reference);
        payment.calls += earlier_calls.unwrap_or(0);
        self.positions
            .insert(payment.reference.clone(), self.payments.len());
        self.payments.push(payment);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn call(reference: &str, amount: &str) -> Call {
        Call {
            reference: reference.to_owned(),
            bill: Bill {
                amount: amount.to_owned(),
                currency: "INR".to_owned(),
                provider: "wifi".to_owned(),
                account_number: "WIFI-1".to_owned(),
            },
            traceparent: None,
        }
    }

    fn accept(receipt: &str) -> Verdict {
        Verdict::Accept {
            receipt: receipt.to_owned(),
        }
    }

    fn pay(ledger: &mut Ledger, call: Call, verdict: Verdict) -> Outcome {
        let (outcome, change) = ledger.decide(call, verdict);
        ledger.apply(change);
        outcome
    }

    fn cancel(ledger: &mut Ledger, reference: &str) -> Status {
        if let Some(change) = ledger.cancel(reference) {
            ledger.apply(change);
        }
        ledger.find(reference).unwrap().status
    }

    #[test]
    fn the_first_answer_of_a_key_is_the_answer_to_all() {
        let mut ledger = Ledger::default();
        let mut pay =
            |reference, amount, verdict| pay(&mut ledger, call(reference, amount), verdict);
        assert_eq!(pay("a", "1", accept("r1")), Outcome::Accepted);
        assert_eq!(pay("a", "1", accept("r2")), Outcome::Repeated);
        assert_eq!(pay("a", "1", Verdict::Decline), Outcome::Repeated);
        assert_eq!(pay("a", "1.0", accept("r3")), Outcome::KeyReused);
        assert_eq!(pay("b", "1", Verdict::Decline), Outcome::Declined);
        assert_eq!(pay("b", "1", accept("r4")), Outcome::Declined);
        assert_eq!(pay("b", "2", accept("r5")), Outcome::KeyReused);
        let payment = ledger.find("a").unwrap();
        assert_eq!(payment.receipt.as_deref(), Some("r1"));
        assert_eq!(
            (payment.calls, ledger.calls(), ledger.accepted()),
            (4, 7, 1)
        );
    }

    #[test]
    fn cancelling_refuses_the_key_unless_the_money_was_taken() {
        let mut ledger = Ledger::default();
        pay(&mut ledger, call("taken", "1"), accept("r1"));
        pay(&mut ledger, call("declined", "1"), Verdict::Decline);
        assert_eq!(cancel(&mut ledger, "taken"), Status::Accepted);
        assert_eq!(cancel(&mut ledger, "declined"), Status::Cancelled);
        assert_eq!(cancel(&mut ledger, "unseen"), Status::Cancelled);
        assert_eq!(cancel(&mut ledger, "unseen"), Status::Cancelled);
        let mut pay = |reference| pay(&mut ledger, call(reference, "1"), accept("r2"));
        assert_eq!(pay("taken"), Outcome::Repeated);
        assert_eq!(pay("declined"), Outcome::Cancelled);
        assert_eq!(pay("unseen"), Outcome::Cancelled);
        assert_eq!(ledger.accepted(), 1);
    }

    #[test]
    fn calls_before_the_decision_count_too() {
        let mut ledger = Ledger::default();
        let reference = || "a".to_owned();
        ledger.apply(Change::Called {
            reference: reference(),
        });
        assert_eq!(ledger.find("a"), None);
        pay(&mut ledger, call("a", "1"), accept("r1"));
        assert_eq!(ledger.find("a").unwrap().calls, 2);
        assert_eq!(ledger.calls(), 2);
    }

    #[test]
    fn pages_are_newest_first_and_stay_while_others_arrive() {
        let mut ledger = Ledger::default();
        for reference in ["a", "b", "c", "d", "e"] {
            pay(&mut ledger, call(reference, "1"), accept("r"));
        }
        let references = |page: &Page<'_>| -> Vec<String> {
            let payments = page.payments.iter();
            payments.map(|payment| payment.reference.clone()).collect()
        };
        let first = ledger.page(2, None);
        assert_eq!(references(&first), ["e", "d"]);
        let cursor = first.next_before;
        pay(&mut ledger, call("f", "1"), accept("r"));
        let second = ledger.page(2, cursor);
        assert_eq!(references(&second), ["c", "b"]);
        let third = ledger.page(2, second.next_before);
        assert_eq!(references(&third), ["a"]);
        assert_eq!(third.next_before, None);
        assert_eq!(references(&ledger.page(3, Some(3))), ["c", "b", "a"]);
        assert_eq!(ledger.page(3, Some(3)).next_before, None);
        assert_eq!(ledger.page(10, Some(usize::MAX)).payments.len(), 6);
        assert_eq!(ledger.page(10, Some(0)).payments, Vec::<&Payment>::new());
    }

    /// What can happen to a key.
    #[derive(Debug, Clone)]
    enum Step {
        Pay { key: u8, amount: u8, accept: bool },
        Fail { key: u8 },
        Cancel { key: u8 },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0..4u8, 0..2u8, any::<bool>())
                .prop_map(|(key, amount, accept)| Step::Pay { key, amount, accept }),
            1 => (0..4u8).prop_map(|key| Step::Fail { key }),
            2 => (0..4u8).prop_map(|key| Step::Cancel { key }),
        ];
        proptest::collection::vec(step, 0..40)
    }

    proptest! {
        #[test]
        fn money_is_taken_once_and_a_final_status_stays(steps in steps()) {
            let mut ledger = Ledger::default();
            let mut changes = Vec::new();
            let mut calls = 0;
            let mut receipts: HashMap<String, String> = HashMap::new();
            for (position, step) in steps.into_iter().enumerate() {
                let (key, change) = match step {
                    Step::Pay { key, amount, accept: accepts } => {
                        calls += 1;
                        let verdict = if accepts { accept(&position.to_string()) } else { Verdict::Decline };
                        let call = call(&key.to_string(), &amount.to_string());
                        (key, Some(ledger.decide(call, verdict).1))
                    }
                    Step::Fail { key } => {
                        calls += 1;
                        (key, Some(Change::Called { reference: key.to_string() }))
                    }
                    Step::Cancel { key } => (key, ledger.cancel(&key.to_string())),
                };
                let key = key.to_string();
                let before = ledger.find(&key).cloned();
                if let Some(change) = change {
                    changes.push(change.clone());
                    ledger.apply(change);
                }
                let after = ledger.find(&key);
                if let Some(Payment { status: status @ (Status::Accepted | Status::Cancelled), .. }) = before {
                    prop_assert_eq!(after.map(|it| it.status), Some(status));
                }
                if let Some(receipt) = after.and_then(|it| it.receipt.clone()) {
                    let first = receipts.entry(key).or_insert_with(|| receipt.clone());
                    prop_assert_eq!(first, &receipt);
                }
                let taken = ledger.payments.iter().filter(|it| it.status == Status::Accepted).count();
                prop_assert_eq!(u64::try_from(taken).unwrap(), ledger.accepted());
                prop_assert_eq!(ledger.accepted(), u64::try_from(receipts.len()).unwrap());
                prop_assert_eq!(ledger.calls(), calls);
            }
            let of_keys = ledger.payments.iter().map(|it| it.calls).chain(ledger.undecided_calls.values().copied());
            prop_assert_eq!(of_keys.sum::<u64>(), calls);

            let mut replayed = Ledger::default();
            for change in changes {
                replayed.apply(change);
            }
            prop_assert_eq!(replayed, ledger);
        }
    }
}
