//! What mode cdc says in its log.

use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{DEADLINE, kafka_brokers};
use tokio::process::Command;

use crate::slot::{streams, terminate_stream};
use crate::stage::{Stage, id};

impl Stage {
    /// A relay of mode cdc whose output is the test's to read; `settings` override its own.
    pub(crate) fn command(&self, settings: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_relay"));
        command
            .env_clear()
            .env("RELAY_MODE", "cdc")
            .env("DATABASE_URL", self.database.url())
            .env("KAFKA_BROKERS", kafka_brokers())
            .env("TOPIC_PREFIX", &self.prefix)
            .env("LISTEN", "127.0.0.1:0")
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
    let stage = Stage::set().await;
    let relay = stage.command(&[]).spawn().unwrap();
    let pid = Pid::from_raw(relay.id().unwrap().try_into().unwrap());
    streams(&stage).await;
    assert!(terminate_stream(&mut stage.database.connect().await).await);
    let committed = stage.commit(&["a"]).await;
    assert_eq!(id(&stage.topic.next().await), committed[0]);
    streams(&stage).await;

    kill(pid, Signal::SIGTERM).unwrap();
    let ended = tokio::time::timeout(DEADLINE, relay.wait_with_output()).await;
    let log = String::from_utf8(ended.unwrap().unwrap().stdout).unwrap();
    let trouble: Vec<_> = log
        .lines()
        .filter(|line| line.contains("WARN") || line.contains("ERROR"))
        .collect();
    assert_eq!(trouble.len(), 1, "{log}");
    assert!(
        trouble[0].contains("relaying is held up: the replication stream of slot"),
        "{log}"
    );
}
