//! One mode at a time, and only those that this build has.

use std::process::Stdio;

use diesel::sql_types::Integer;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection as _};
use relay::mode_lock::{Claim, LOCK_CLASS, claim};
use relay::relay_mode::RelayMode;
use testkit::{DEADLINE, eventually};
use tokio::process::Command;

use crate::test_outbox::{TestOutbox, id};

#[tokio::test]
async fn a_mode_that_is_not_there_is_refused_with_a_list_of_those_that_are() {
    for mode in ["pollar", ""] {
        let ended = Command::new(env!("CARGO_BIN_EXE_relay"))
            .env("RELAY_MODE", mode)
            .env("DATABASE_URL", "postgres://127.0.0.1:1/none")
            .env("ADMIN_LISTEN", "127.0.0.1:0")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let ended = tokio::time::timeout(DEADLINE, ended)
            .await
            .expect("the relay ends at once")
            .unwrap();
        assert_eq!(ended.status.code(), Some(2), "{mode}");
        let error = String::from_utf8(ended.stderr).unwrap();
        assert!(error.contains("--relay-mode"), "{mode}: {error}");
        assert!(
            error.contains("[possible values: poller, cdc, debezium]"),
            "{mode}: {error}"
        );
    }
}

#[tokio::test]
async fn a_relay_waits_while_another_mode_is_running_and_says_for_whom() {
    let test = TestOutbox::new().await;
    let mut other = test.database.connect().await;
    let lock = format!(
        "set application_name = 'relay of old'; select pg_advisory_lock_shared({LOCK_CLASS}, 2)"
    );
    other.batch_execute(&lock).await.unwrap();
    let session: i32 = diesel::select(diesel::dsl::sql::<Integer>("pg_backend_pid()"))
        .get_result(&mut other)
        .await
        .unwrap();

    let committed = test.commit(&["a"]).await;
    let relay = test.relay(&[]);
    let waiting = format!(
        "waiting: mode cdc is running: session {session} of \"relay of old\" from 127.0.0.1"
    );
    relay.is_not_ready("progress", &waiting).await;
    assert_eq!(test.pending().await, ["a"]);

    drop(other);
    assert_eq!(id(&test.topic.next().await), committed[0]);
    relay.is_ready().await;
}

#[tokio::test]
async fn modes_exclude_each_other_and_relays_of_one_mode_do_not() {
    let test = TestOutbox::new().await;
    let mut poller = test.database.connect().await;
    let mut second = test.database.connect().await;
    let mut cdc = test.database.connect().await;
    assert_eq!(claim(&mut poller, RelayMode::Poller).await, Ok(Claim::Held));
    let claimed = tokio::time::timeout(DEADLINE, claim(&mut second, RelayMode::Poller)).await;
    assert_eq!(
        claimed.expect("nobody waits for its own mode"),
        Ok(Claim::Held)
    );
    for other in [RelayMode::Cdc, RelayMode::Debezium] {
        let claimed = claim(&mut cdc, other).await.unwrap();
        assert!(
            matches!(&claimed, Claim::HeldBy(holder) if holder.starts_with("mode poller is running")),
            "{claimed:?}"
        );
    }
    drop((poller, second));
    eventually("the lock is free", async || {
        match claim(&mut cdc, RelayMode::Cdc).await.unwrap() {
            Claim::Held => Ok(()),
            Claim::HeldBy(holder) => Err(holder),
        }
    })
    .await;
}

#[tokio::test]
async fn other_databases_have_modes_of_their_own() {
    let (one, other) = (TestOutbox::new().await, TestOutbox::new().await);
    let mut poller = one.database.connect().await;
    let mut cdc = other.database.connect().await;
    assert_eq!(claim(&mut poller, RelayMode::Poller).await, Ok(Claim::Held));
    assert_eq!(claim(&mut cdc, RelayMode::Cdc).await, Ok(Claim::Held));
}
