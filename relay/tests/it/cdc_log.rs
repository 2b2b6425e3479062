//! What mode cdc says in its log.

use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{DEADLINE, kafka_brokers};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use crate::slot::{streams, terminate_stream};
use crate::test_outbox::{TestOutbox, id};

impl TestOutbox {
    /// A relay of mode cdc whose output is the test's to read; `settings` override its own.
    pub(crate) fn command(&self, settings: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_relay"));
        command
            .env_clear()
            .env("RELAY_MODE", "cdc")
            .env("DATABASE_URL", self.database.url())
            .env("KAFKA_BROKERS", kafka_brokers())
            .env("TOPIC_PREFIX", &self.prefix)
            .env("ADMIN_LISTEN", "127.0.0.1:0")
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }
}

#[tokio::test]
async fn a_stream_that_is_lost_is_one_line_in_the_log() {
    let test = TestOutbox::new().await;
    let relay = test.command(&[]).spawn().unwrap();
    streams(&test).await;
    assert!(terminate_stream(&mut test.database.connect().await).await);
    let committed = test.commit(&["a"]).await;
    assert_eq!(id(&test.topic.next().await), committed[0]);
    streams(&test).await;

    let trouble = trouble(relay).await;
    assert_eq!(trouble.len(), 1, "{trouble:?}");
    assert!(
        trouble[0].contains("relaying is blocked: the replication stream of slot"),
        "{trouble:?}"
    );
}

#[tokio::test]
async fn a_database_that_is_away_is_one_line_in_the_log_however_often_it_is_tried() {
    let test = TestOutbox::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let url = format!("postgres://postgres@{address}/none");
    let relay = test.command(&[("DATABASE_URL", &url)]).spawn().unwrap();
    // The gauges and the first few tries, which come quickly.
    for _ in 0..8 {
        let tried = tokio::time::timeout(DEADLINE, listener.accept()).await;
        let (mut connection, _) = tried.expect("the relay tries").unwrap();
        // Hangs up when it has said who it is.
        connection.read_u8().await.unwrap();
        connection.shutdown().await.unwrap();
        tokio::io::copy(&mut connection, &mut tokio::io::sink())
            .await
            .unwrap();
    }

    let trouble = trouble(relay).await;
    assert_eq!(trouble.len(), 1, "{trouble:?}");
    assert!(
        trouble[0].contains("relaying is blocked: connecting to the database"),
        "{trouble:?}"
    );
}

/// Ends the relay; answers the lines of its log that tell of trouble.
async fn trouble(relay: Child) -> Vec<String> {
    let pid = Pid::from_raw(relay.id().unwrap().try_into().unwrap());
    kill(pid, Signal::SIGTERM).unwrap();
    let ended = tokio::time::timeout(DEADLINE, relay.wait_with_output()).await;
    let log = String::from_utf8(ended.unwrap().unwrap().stdout).unwrap();
    log.lines()
        .filter(|line| line.contains("WARN") || line.contains("ERROR"))
        .map(str::to_owned)
        .collect()
}
