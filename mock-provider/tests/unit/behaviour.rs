//! The settings of a behaviour, and the fates that they mean. A unit test: it is compiled as a module of `src/behaviour.rs`.

use super::*;

fn shares(server_error: f64, timeout: f64, decline: f64) -> Behaviour {
    Behaviour {
        server_error_share: server_error,
        timeout_share: timeout,
        decline_share: decline,
        ..Behaviour::default()
    }
}

#[test]
fn each_share_owns_its_part_of_the_dice() {
    let behaviour = shares(0.25, 0.5, 0.125);
    for (roll, fate) in [
        (0.0, Fate::ServerError),
        (0.249, Fate::ServerError),
        (0.25, Fate::Timeout),
        (0.749, Fate::Timeout),
        (0.75, Fate::Decline),
        (0.874, Fate::Decline),
        (0.875, Fate::Served),
        (0.999, Fate::Served),
    ] {
        assert_eq!(behaviour.fate(roll), fate, "{roll}");
    }
}

#[test]
fn a_share_of_zero_never_happens_and_of_one_always() {
    for roll in [0.0, 0.5, 0.999_999_999_999_999_9] {
        assert_eq!(Behaviour::default().fate(roll), Fate::Served);
        assert_eq!(shares(1.0, 0.0, 0.0).fate(roll), Fate::ServerError);
        assert_eq!(shares(0.0, 1.0, 0.0).fate(roll), Fate::Timeout);
        assert_eq!(shares(0.0, 0.0, 1.0).fate(roll), Fate::Decline);
    }
}

#[test]
fn shares_are_from_0_to_1_and_together_at_most_1() {
    assert_eq!(Behaviour::default().check(), Ok(()));
    assert_eq!(shares(0.1, 0.2, 0.7).check(), Ok(()));
    assert_eq!(shares(0.7, 0.2, 0.1).check(), Ok(()));
    assert_eq!(shares(0.5, 0.5, 0.01).check(), Err(BehaviourError::Sum));
    let wrong = |behaviour: Behaviour| behaviour.check().unwrap_err();
    assert_eq!(
        wrong(shares(-0.1, 0.0, 0.0)),
        BehaviourError::Share("server_error_share")
    );
    assert_eq!(
        wrong(shares(0.0, 1.1, 0.0)),
        BehaviourError::Share("timeout_share")
    );
    assert_eq!(
        wrong(shares(0.0, 0.0, f64::NAN)),
        BehaviourError::Share("decline_share")
    );
}

#[test]
fn waits_are_at_most_ten_minutes() {
    let latency = Behaviour {
        latency_ms: WAIT_MS_MAX + 1,
        ..Behaviour::default()
    };
    assert_eq!(latency.check(), Err(BehaviourError::Wait("latency_ms")));
    let timeout = Behaviour {
        timeout_ms: WAIT_MS_MAX + 1,
        ..Behaviour::default()
    };
    assert_eq!(timeout.check(), Err(BehaviourError::Wait("timeout_ms")));
}

#[test]
fn only_a_lost_answer_takes_the_timeout() {
    let behaviour = Behaviour {
        latency_ms: 5,
        timeout_ms: 700,
        ..Behaviour::default()
    };
    assert_eq!(behaviour.wait(Fate::Timeout), Duration::from_millis(700));
    for fate in [Fate::ServerError, Fate::Decline, Fate::Served] {
        assert_eq!(behaviour.wait(fate), Duration::from_millis(5));
    }
}
