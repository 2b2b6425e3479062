//! Decisions by value, and against a model of the provider.

use std::time::Duration;

use bill_payer::domain::{
    AttemptState, Call, CallResult, CancellationResult, Claim, Health, NextStep, PaymentResult,
    Policy, ProviderState, Status, UnknownCause, Verdict, decide, judge,
};
use proptest::prelude::*;
use strum::VariantArray as _;

const DEADLINE: Duration = Duration::from_secs(60);

const POLICY: Policy = Policy {
    pay_attempts_max: 3,
    pay_deadline: DEADLINE,
    cancel_attempts_max: 2,
    cancel_deadline: DEADLINE,
};

/// Call number `attempts` of a bill whose deadline is far.
const fn attempt_state(attempts: u32) -> AttemptState {
    AttemptState {
        attempts,
        failing_for: Duration::ZERO,
    }
}

fn receipt() -> String {
    "R-1".to_owned()
}

fn every_cause() -> [UnknownCause; 8] {
    let text = || "text".to_owned();
    [
        UnknownCause::Unreachable(text()),
        UnknownCause::Timeout,
        UnknownCause::Broken(text()),
        UnknownCause::Unavailable {
            status: 503,
            retry_after: None,
        },
        UnknownCause::Refused {
            status: 409,
            detail: text(),
        },
        UnknownCause::Unreadable(text()),
        UnknownCause::Unrecorded,
        UnknownCause::Stopped,
    ]
}

fn every_next() -> [NextStep; 6] {
    let cause = || UnknownCause::Timeout;
    [
        NextStep::Paid { receipt: receipt() },
        NextStep::Failed {
            reason: "declined".to_owned(),
        },
        NextStep::Retry {
            failures: 1,
            cause: cause(),
        },
        NextStep::Wait {
            failures: 1,
            cause: cause(),
        },
        NextStep::BeginCancelling { cause: cause() },
        NextStep::Parked { cause: cause() },
    ]
}

#[test]
fn the_providers_word_is_final_at_any_attempt() {
    for attempts in [1, 2, 3, 4, u32::MAX] {
        let accepted = CallResult::Payment(PaymentResult::Accepted { receipt: receipt() });
        let declined = CallResult::Payment(PaymentResult::Declined {
            reason: "no such account".to_owned(),
        });
        let already_paid =
            CallResult::Cancellation(CancellationResult::AlreadyPaid { receipt: receipt() });
        let cancelled = CallResult::Cancellation(CancellationResult::Cancelled);
        let paid = NextStep::Paid { receipt: receipt() };
        assert_eq!(
            decide(
                attempt_state(attempts),
                accepted,
                ProviderState::Available,
                POLICY
            ),
            paid
        );
        assert_eq!(
            decide(
                attempt_state(attempts),
                already_paid,
                ProviderState::Available,
                POLICY
            ),
            paid
        );
        assert_eq!(
            decide(
                attempt_state(attempts),
                declined,
                ProviderState::Available,
                POLICY
            ),
            NextStep::Failed {
                reason: "no such account".to_owned()
            }
        );
        assert!(matches!(
            decide(
                attempt_state(attempts),
                cancelled,
                ProviderState::Available,
                POLICY
            ),
            NextStep::Failed { .. }
        ));
    }
}

#[test]
fn unknown_is_tried_again_then_cancelled_then_parked_whatever_the_reason() {
    for cause in every_cause() {
        let pay = |attempts| {
            let answer = CallResult::Payment(PaymentResult::Unknown(cause.clone()));
            decide(
                attempt_state(attempts),
                answer,
                ProviderState::Available,
                POLICY,
            )
        };
        let cancel = |attempts| {
            let answer = CallResult::Cancellation(CancellationResult::Unknown(cause.clone()));
            decide(
                attempt_state(attempts),
                answer,
                ProviderState::Available,
                POLICY,
            )
        };
        let retry = |failures| NextStep::Retry {
            failures,
            cause: cause.clone(),
        };
        assert_eq!(pay(1), retry(1));
        assert_eq!(pay(2), retry(2));
        for used_up in [3, 4, u32::MAX] {
            assert_eq!(
                pay(used_up),
                NextStep::BeginCancelling {
                    cause: cause.clone()
                }
            );
        }
        assert_eq!(cancel(1), retry(1));
        for used_up in [2, 3, u32::MAX] {
            assert_eq!(
                cancel(used_up),
                NextStep::Parked {
                    cause: cause.clone()
                }
            );
        }
    }
}

#[test]
fn in_an_outage_what_fails_is_the_providers_failure_and_not_the_bills() {
    for cause in every_cause() {
        let away = cause.health() == Health::Down;
        let unknown = || PaymentResult::Unknown(cause.clone());
        let cancel_unknown = || CancellationResult::Unknown(cause.clone());
        for attempts in [1, 3, u32::MAX] {
            let over = AttemptState {
                attempts,
                failing_for: DEADLINE * 1_000,
            };
            let pay = decide(
                over,
                CallResult::Payment(unknown()),
                ProviderState::Away,
                POLICY,
            );
            assert_eq!(matches!(pay, NextStep::Wait { .. }), away, "{pay:?}");
            let cancel = CallResult::Cancellation(cancel_unknown());
            let cancel = decide(attempt_state(attempts), cancel, ProviderState::Away, POLICY);
            assert_eq!(matches!(cancel, NextStep::Wait { .. }), away, "{cancel:?}");
            // An operator is to hear of a bill that hangs half-cancelled, however long the outage is.
            let cancel = CallResult::Cancellation(cancel_unknown());
            let cancel = decide(over, cancel, ProviderState::Away, POLICY);
            assert!(matches!(cancel, NextStep::Parked { .. }), "{cancel:?}");
        }
    }
}

#[test]
fn a_deadline_ends_the_tries_whatever_attempts_are_left() {
    for (failing_for, over) in [
        (DEADLINE.saturating_sub(Duration::from_millis(1)), false),
        (DEADLINE, true),
        (Duration::MAX, true),
    ] {
        let first = AttemptState {
            attempts: 1,
            failing_for,
        };
        let pay = CallResult::Payment(PaymentResult::Unknown(UnknownCause::Timeout));
        let pay = decide(first, pay, ProviderState::Available, POLICY);
        assert_eq!(
            matches!(pay, NextStep::BeginCancelling { .. }),
            over,
            "{pay:?}"
        );
        let cancel = CallResult::Cancellation(CancellationResult::Unknown(UnknownCause::Timeout));
        let cancel = decide(first, cancel, ProviderState::Available, POLICY);
        assert_eq!(
            matches!(cancel, NextStep::Parked { .. }),
            over,
            "{cancel:?}"
        );
    }
}

#[test]
fn crashes_use_attempts_up_too() {
    let unrecorded = |call: Call, attempts| call.result_of_exhaustion(attempts, POLICY);
    assert_eq!(unrecorded(Call::Pay, 3), None);
    assert_eq!(
        unrecorded(Call::Pay, 4),
        Some(CallResult::Payment(PaymentResult::Unknown(
            UnknownCause::Unrecorded
        )))
    );
    assert_eq!(unrecorded(Call::Cancel, 2), None);
    assert_eq!(
        unrecorded(Call::Cancel, 3),
        Some(CallResult::Cancellation(CancellationResult::Unknown(
            UnknownCause::Unrecorded
        )))
    );
}

#[test]
fn what_may_be_recorded_depends_on_the_bill_as_it_is_by_now() {
    use Verdict::{Contradiction, Record, Stale};
    for claim in [Claim::Held, Claim::Lost] {
        let guess = match claim {
            Claim::Held => Record,
            Claim::Lost => Stale,
        };
        for (current, expected) in [
            // in the order of every_next: paid, failed, retry, wait, begin cancelling, parked
            (Status::Paying, [Record, Record, guess, guess, guess, guess]),
            (
                Status::Cancelling,
                [Record, Record, guess, guess, guess, guess],
            ),
            (Status::Parked, [Record, Record, guess, guess, guess, guess]),
            (
                Status::Paid,
                [Stale, Contradiction, Stale, Stale, Stale, Stale],
            ),
            (
                Status::Failed,
                [Contradiction, Stale, Stale, Stale, Stale, Stale],
            ),
        ] {
            let verdicts = every_next().map(|next| judge(current, claim, &next));
            assert_eq!(verdicts, expected, "{current} {claim:?}");
        }
    }
}

#[test]
fn a_status_reads_back_as_it_is_written() {
    for status in Status::VARIANTS.iter().copied() {
        assert_eq!(status.to_string().parse(), Ok(status));
        assert_eq!(
            serde_json::to_value(status).unwrap(),
            serde_json::json!(status.into_str())
        );
    }
    assert!("Paid".parse::<Status>().is_err());
}

/// The provider, as the contract has it.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum Provider {
    #[default]
    Undecided,
    Took,
    Declined,
    Cancelled,
}

/// What happens to one call: does it arrive, would a new payment be declined, does the answer come back.
#[derive(Debug, Clone, Copy)]
struct Weather {
    arrives: bool,
    declines: bool,
    heard: bool,
}

fn weather() -> impl Strategy<Value = Weather> {
    (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(arrives, declines, heard)| Weather {
        arrives,
        declines,
        heard,
    })
}

impl Provider {
    fn call(&mut self, call: Call, weather: Weather) -> CallResult {
        if weather.arrives {
            *self = match (call, *self) {
                (Call::Pay, Self::Undecided) if weather.declines => Self::Declined,
                (Call::Pay, Self::Undecided) => Self::Took,
                (Call::Cancel, Self::Undecided | Self::Declined) => Self::Cancelled,
                (_, decisions) => decisions,
            };
        }
        let heard = weather.arrives && weather.heard;
        match (call, *self) {
            (Call::Pay, Self::Took) if heard => {
                CallResult::Payment(PaymentResult::Accepted { receipt: receipt() })
            }
            (Call::Pay, Self::Declined | Self::Cancelled) if heard => {
                CallResult::Payment(PaymentResult::Declined {
                    reason: "declined".to_owned(),
                })
            }
            (Call::Cancel, Self::Took) if heard => {
                CallResult::Cancellation(CancellationResult::AlreadyPaid { receipt: receipt() })
            }
            (Call::Cancel, Self::Cancelled) if heard => {
                CallResult::Cancellation(CancellationResult::Cancelled)
            }
            (Call::Pay, _) => CallResult::Payment(PaymentResult::Unknown(UnknownCause::Timeout)),
            (Call::Cancel, _) => {
                CallResult::Cancellation(CancellationResult::Unknown(UnknownCause::Timeout))
            }
        }
    }
}

/// A bill as the table has it: status and attempts.
struct Bill {
    status: Status,
    attempts: u32,
}

impl Bill {
    const NEW: Self = Self {
        status: Status::Paying,
        attempts: 0,
    };

    /// Claims the bill and returns the call that follows; none if nobody has to call.
    fn claim(&mut self) -> Option<Call> {
        self.attempts += 1;
        match self.status {
            Status::Paying => Some(Call::Pay),
            Status::Cancelling => Some(Call::Cancel),
            Status::Parked | Status::Paid | Status::Failed => None,
        }
    }

    fn record(&mut self, claim: Claim, next: &NextStep) -> Verdict {
        let verdict = judge(self.status, claim, next);
        if verdict == Verdict::Record {
            if matches!(next, NextStep::BeginCancelling { .. }) {
                self.attempts = 0;
            }
            self.status = next.status(self.status);
        }
        verdict
    }
}

proptest! {
    /// One executor, a provider that loses calls and answers, and a process that dies now and then.
    #[test]
    fn a_bill_ends_as_the_provider_says_or_with_an_operator(
        policy in (1..5u32, 1..5u32).prop_map(|(pay_attempts_max, cancel_attempts_max)| {
            Policy { pay_attempts_max, cancel_attempts_max, ..POLICY }
        }),
        calls in proptest::collection::vec((weather(), any::<bool>()), 12),
    ) {
        let mut provider = Provider::default();
        let mut bill = Bill::NEW;
        for (weather, dies) in calls {
            let Some(call) = bill.claim() else { break };
            let answer = match call.result_of_exhaustion(bill.attempts, policy) {
                Some(answer) => answer,
                None => {
                    let answer = provider.call(call, weather);
                    if dies {
                        continue;
                    }
                    answer
                }
            };
            let next = decide(attempt_state(bill.attempts), answer, ProviderState::Available, policy);
            prop_assert_eq!(bill.record(Claim::Held, &next), Verdict::Record);
        }
        match bill.status {
            Status::Paid => prop_assert_eq!(provider, Provider::Took),
            Status::Failed => prop_assert!(matches!(provider, Provider::Declined | Provider::Cancelled)),
            Status::Parked => {}
            Status::Paying | Status::Cancelling => prop_assert!(false, "it has not ended"),
        }
    }

    /// Many executors, of which all but the newest have lost their lease, whose answers come in any order.
    #[test]
    fn late_answers_never_refund_what_was_paid(
        steps in proptest::collection::vec((weather(), any::<prop::sample::Index>(), any::<bool>()), 1..40),
    ) {
        let mut provider = Provider::default();
        let mut bill = Bill::NEW;
        let mut waiting: Vec<(u32, u32, CallResult)> = Vec::new();
        for (lease, (weather, which, claims)) in (1..).zip(steps) {
            if claims && let Some(call) = bill.claim() {
                let answer = call.result_of_exhaustion(bill.attempts, POLICY);
                let answer = answer.unwrap_or_else(|| provider.call(call, weather));
                waiting.push((lease, bill.attempts, answer));
            } else if !waiting.is_empty() {
                let newest = waiting.iter().map(|(lease, ..)| *lease).max();
                let (lease, attempts, answer) = waiting.swap_remove(which.index(waiting.len()));
                let claim = if Some(lease) == newest { Claim::Held } else { Claim::Lost };
                let verdict = bill.record(claim, &decide(attempt_state(attempts), answer, ProviderState::Available, POLICY));
                prop_assert_ne!(verdict, Verdict::Contradiction);
            }
            match bill.status {
                Status::Paid => prop_assert_eq!(provider, Provider::Took),
                Status::Failed => prop_assert!(matches!(provider, Provider::Declined | Provider::Cancelled)),
                Status::Paying | Status::Cancelling | Status::Parked => {}
            }
        }
    }
}
