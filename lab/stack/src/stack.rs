//! `stack.json`: where the running system is, for people and programs.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::home::Home;
use crate::relay_mode::RelayMode;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Stack {
    pub wallet_api: String,
    /// Where wallet-api serves operators; the others serve nobody else.
    pub wallet_api_admin: String,
    pub bill_payer: String,
    pub mock_provider: String,
    pub lab: String,
    pub relays: Vec<String>,
    pub wallet_database_url: String,
    pub bill_payer_database_url: String,
    /// Bootstrap servers, host:port separated by commas.
    pub kafka_brokers: String,
    /// What stands before the name of every topic and consumer group.
    pub topic_prefix: String,
    pub connect_url: Option<String>,
    pub relay_mode: RelayMode,
    pub pids: BTreeMap<String, i32>,
}

impl Stack {
    /// The running system of `home`, if it has become ready.
    pub fn load(home: &Home) -> anyhow::Result<Option<Self>> {
        let path = home.stack();
        match std::fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map(Some).with_context(|| {
                format!(
                    "{} is damaged: ./dev down and ./dev up make it again",
                    path.display()
                )
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }

    pub fn to_json(&self) -> String {
        let json = serde_json::to_string_pretty(self).expect("a struct of strings is JSON");
        format!("{json}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_stack_json_do_not_change() {
        let stack = Stack {
            wallet_api: "http://127.0.0.1:8080".to_owned(),
            wallet_api_admin: "http://127.0.0.1:9080".to_owned(),
            bill_payer: "http://127.0.0.1:8081".to_owned(),
            mock_provider: "http://127.0.0.1:8082".to_owned(),
            lab: "http://127.0.0.1:8090".to_owned(),
            relays: vec!["http://127.0.0.1:8084".to_owned()],
            wallet_database_url: "postgres://postgres@127.0.0.1:15432/wallet".to_owned(),
            bill_payer_database_url: "postgres://postgres@127.0.0.1:15432/bill_payer".to_owned(),
            kafka_brokers: "127.0.0.1:9092".to_owned(),
            topic_prefix: String::new(),
            connect_url: None,
            relay_mode: RelayMode::Poller,
            pids: BTreeMap::from([("lab".to_owned(), 1), ("wallet-api".to_owned(), 2)]),
        };
        insta::assert_snapshot!(stack.to_json());
    }
}
