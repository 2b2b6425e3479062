//! The decisions of the ledger. A unit test: it is compiled as a module of `src/ledger.rs`.

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
    let mut pay = |reference, amount, verdict| pay(&mut ledger, call(reference, amount), verdict);
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
