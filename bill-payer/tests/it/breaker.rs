//! The breaker, by value: any calls, any answers, any times.

use std::time::Duration;

use bill_payer::breaker::{Breaker, Permit};
use bill_payer::domain::{Health, ProviderState, UnknownCause};
use proptest::prelude::*;

const FAILURES_MAX: u32 = 3;
const WAIT: Duration = Duration::from_secs(1);

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn doubled(waits: u32) -> Duration {
    WAIT * (1 << waits.saturating_sub(1).min(5))
}

#[test]
fn failures_in_a_row_open_it_and_an_answer_between_them_does_not() {
    let mut breaker = Breaker::new(FAILURES_MAX);
    for health in [
        Health::Down,
        Health::Down,
        Health::Up,
        Health::Down,
        Health::Down,
    ] {
        breaker.call_ended(health, at(0), doubled);
    }
    assert_eq!(breaker.provider_state(), ProviderState::Available);
    assert_eq!(breaker.permit(at(0)), Permit::All);
    breaker.call_ended(Health::Down, at(0), doubled);
    assert_eq!(breaker.provider_state(), ProviderState::Away);
    assert_eq!(breaker.permit(at(0)), Permit::Nothing);
}

#[test]
fn each_probe_that_fails_is_followed_by_a_longer_wait_and_the_first_answer_closes_it() {
    let mut breaker = Breaker::new(1);
    breaker.call_ended(Health::Down, at(0), doubled);
    for (probe, next) in [(1, 3), (3, 7), (7, 15)] {
        assert_eq!(
            breaker.permit(at(probe) - Duration::from_millis(1)),
            Permit::Nothing
        );
        assert_eq!(breaker.permit(at(probe)), Permit::Probe);
        breaker.call_begins();
        assert_eq!(breaker.permit(at(1_000)), Permit::Nothing);
        breaker.call_ended(Health::Down, at(probe), doubled);
        assert_eq!(breaker.permit(at(next)), Permit::Probe);
    }
    breaker.call_begins();
    breaker.call_ended(Health::Up, at(15), doubled);
    assert_eq!(breaker.permit(at(15)), Permit::All);
}

#[test]
fn a_probe_that_says_nothing_is_followed_by_another_at_once() {
    let mut breaker = Breaker::new(1);
    breaker.call_ended(Health::Down, at(0), doubled);
    breaker.call_begins();
    breaker.call_ended(Health::Unclear, at(5), doubled);
    assert_eq!(breaker.provider_state(), ProviderState::Away);
    assert_eq!(breaker.permit(at(5)), Permit::Probe);
}

#[test]
fn what_is_about_one_request_says_nothing_about_the_provider() {
    let refused = |status| UnknownCause::Refused {
        status,
        detail: String::new(),
    };
    for status in [400, 409, 413, 422] {
        assert_eq!(refused(status).health(), Health::Unclear, "{status}");
    }
    // A wrong address or a wrong key is an outage until somebody corrects it.
    for status in [301, 401, 403, 404] {
        assert_eq!(refused(status).health(), Health::Down, "{status}");
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// Begin as many calls as are permitted, up to so many.
    Begin(usize),
    /// The call that has been in flight longest ends so.
    End(Health),
    Pass(Duration),
}

fn health() -> impl Strategy<Value = Health> {
    prop_oneof![Just(Health::Up), Just(Health::Down), Just(Health::Unclear)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..6usize).prop_map(Step::Begin),
        health().prop_map(Step::End),
        (0..4_000u64).prop_map(|ms| Step::Pass(Duration::from_millis(ms))),
    ]
}

proptest! {
    #[test]
    fn it_opens_after_failures_in_a_row_and_lets_probes_through_one_at_a_time(
        failures_max in 1..6u32,
        steps in proptest::collection::vec(step(), 1..200),
    ) {
        let mut breaker = Breaker::new(failures_max);
        let (mut now, mut in_flight, mut in_a_row) = (Duration::ZERO, 0usize, 0u32);
        for step in steps {
            match step {
                Step::Pass(time) => now += time,
                Step::Begin(calls) => {
                    let permit = breaker.permit(now);
                    let begun = match permit {
                        Permit::All => calls,
                        Permit::Probe => 1,
                        Permit::Nothing => 0,
                    };
                    for _ in 0..begun {
                        breaker.call_begins();
                    }
                    in_flight += begun;
                    match breaker.provider_state() {
                        ProviderState::Available => prop_assert_eq!(permit, Permit::All),
                        ProviderState::Away => {
                            // Whatever time passes: no second one at the same time.
                            prop_assert!(begun == 0 || breaker.permit(now + at(1_000)) == Permit::Nothing);
                        }
                    }
                }
                Step::End(health) if in_flight > 0 => {
                    in_flight -= 1;
                    let before = breaker.provider_state();
                    breaker.call_ended(health, now, doubled);
                    in_a_row = match health {
                        Health::Up => 0,
                        Health::Down => in_a_row + 1,
                        Health::Unclear => in_a_row,
                    };
                    // Open exactly from so many failures in a row until the next answer.
                    let away = in_a_row >= failures_max;
                    prop_assert_eq!(breaker.provider_state() == ProviderState::Away, away);
                    if before == ProviderState::Available && away {
                        prop_assert_eq!(breaker.permit(now), Permit::Nothing);
                        prop_assert_eq!(breaker.permit(now + WAIT), Permit::Probe);
                    }
                }
                Step::End(_) => {}
            }
        }
    }

    /// A provider that is away for long is asked about as often as the waits say, however much there is
    /// to do, and is found again within the longest of them.
    #[test]
    fn an_outage_costs_a_probe_a_wait_and_its_end_is_found(minutes in 1..600u64) {
        let mut breaker = Breaker::new(FAILURES_MAX);
        let back = at(minutes * 60);
        let (mut now, mut calls) = (Duration::ZERO, 0u64);
        while breaker.provider_state() == ProviderState::Available && now == Duration::ZERO || breaker.provider_state() == ProviderState::Away {
            match breaker.permit(now) {
                Permit::Nothing => now += Duration::from_millis(50),
                Permit::All | Permit::Probe => {
                    breaker.call_begins();
                    calls += 1;
                    let health = if now >= back { Health::Up } else { Health::Down };
                    breaker.call_ended(health, now, doubled);
                }
            }
        }
        let longest = doubled(u32::MAX);
        prop_assert!(now < back + longest + at(1));
        prop_assert!(calls <= u64::from(FAILURES_MAX) + 6 + minutes * 60 / longest.as_secs() + 1);
    }
}
