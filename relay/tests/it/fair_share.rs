//! Who should hold which shards, by value.

use std::collections::BTreeMap;

use proptest::prelude::*;
use relay::mode_lock;
use relay::poller::shards::{LOCK_CLASS, Lock, SHARDS, fair_share, moves};

#[test]
fn shares_differ_by_one_at_most_and_are_all_shards_together() {
    assert_eq!(fair_share(1, 0), 64);
    assert_eq!([0, 1, 2].map(|rank| fair_share(3, rank)), [22, 21, 21]);
    for relays in 1..=100 {
        let shares: Vec<i32> = (0..relays).map(|rank| fair_share(relays, rank)).collect();
        assert_eq!(shares.iter().sum::<i32>(), SHARDS);
        assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1);
    }
}

#[test]
fn one_who_is_alone_takes_all() {
    let moves = moves(&[presence(7)], 7);
    assert_eq!(moves.take, (0..64).collect::<Vec<i32>>());
    assert!(moves.keep.is_empty() && moves.release.is_empty());
}

#[test]
fn one_who_holds_too_many_releases_the_surplus_and_keeps_the_rest() {
    let mut locks: Vec<Lock> = (0..64).map(|shard| held(shard, 7)).collect();
    locks.extend([presence(7), presence(8)]);
    let first = moves(&locks, 7);
    assert_eq!(first.keep, (0..32).collect::<Vec<i32>>());
    assert_eq!(first.release, (32..64).collect::<Vec<i32>>());
    assert!(first.take.is_empty());
    assert!(moves(&locks, 8).take.is_empty(), "nothing is free yet");
}

proptest! {
    /// Whoever comes, crashes or looks around, in any order: once nothing changes any more and each has
    /// looked twice, every shard has one owner and everybody a fair share.
    #[test]
    fn shards_settle_fairly_whatever_happened_before(
        events in prop::collection::vec((0..3, 0..20_i32), 0..60),
        order in Just((0..20_i32).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let mut locks = Vec::new();
        for (what, pid) in events {
            match what {
                0 if !locks.contains(&presence(pid)) => locks.push(presence(pid)),
                1 => locks.retain(|lock| lock.pid != pid),
                _ => look_around(&mut locks, pid)?,
            }
        }
        for pid in order.iter().chain(&order) {
            look_around(&mut locks, *pid)?;
        }
        let mut shares: BTreeMap<i32, i32> = BTreeMap::new();
        for lock in &locks {
            *shares.entry(lock.pid).or_default() += i32::from(lock.class == LOCK_CLASS);
        }
        let relays = i32::try_from(shares.len()).unwrap();
        for (rank, share) in (0..).zip(shares.values()) {
            prop_assert_eq!(*share, fair_share(relays, rank));
        }
    }
}

/// Does what the relay of session `pid`, if there is one, would do.
fn look_around(locks: &mut Vec<Lock>, pid: i32) -> Result<(), TestCaseError> {
    if !locks.contains(&presence(pid)) {
        return Ok(());
    }
    let moves = moves(locks, pid);
    locks.retain(|lock| !moves.release.iter().any(|shard| *lock == held(*shard, pid)));
    for shard in moves.take {
        let free = locks
            .iter()
            .all(|lock| lock.class != LOCK_CLASS || lock.number != shard);
        prop_assert!(free, "{} tries for shard {}, which is not free", pid, shard);
        locks.push(held(shard, pid));
    }
    Ok(())
}

fn presence(pid: i32) -> Lock {
    Lock {
        class: mode_lock::LOCK_CLASS,
        number: 1,
        pid,
    }
}

fn held(shard: i32, pid: i32) -> Lock {
    Lock {
        class: LOCK_CLASS,
        number: shard,
        pid,
    }
}
