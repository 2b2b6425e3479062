//! A client of Kafka Connect's REST API.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use chassis::endpoint::{Endpoint, EndpointError};
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio_postgres::types::PgLsn;

use super::connector::Connector;
use crate::config::ConnectConfig;

/// How long a response may take. Connect responds late while its workers distribute connectors.
const RESPONSE_WITHIN: Duration = Duration::from_secs(15);
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error("making Kafka Connect's HTTP client")]
    Client(#[source] reqwest::Error),
    #[error("Kafka Connect at {url}, {what}")]
    Http {
        url: Url,
        what: &'static str,
        source: reqwest::Error,
    },
    #[error("Kafka Connect, {what}: {status}: {message}")]
    Refused {
        what: &'static str,
        status: StatusCode,
        message: String,
    },
}

/// A client of one cluster of workers.
#[derive(Debug, Clone)]
pub(crate) struct Connect {
    client: Client,
    /// Without its login.
    url: Url,
}

impl Connect {
    /// Connects when first called.
    pub(crate) fn new(config: &ConnectConfig) -> Result<Self, ConnectError> {
        let endpoint = Endpoint {
            setting: "CONNECT_URL",
            url: &config.connect_url,
            token: config.connect_token.as_ref(),
            ca_file: config.connect_ca_file.as_deref(),
        };
        let (url, client) = endpoint.client()?;
        let client = client
            .timeout(RESPONSE_WITHIN)
            .connect_timeout(CONNECT_WITHIN)
            .no_proxy()
            .build()
            .map_err(ConnectError::Client)?;
        Ok(Self { client, url })
    }

    /// The version of the workers.
    pub(crate) async fn version(&self) -> Result<String, ConnectError> {
        #[derive(Deserialize)]
        struct Worker {
            version: String,
        }
        let what = "asking Kafka Connect for its version";
        let response = self.send(what, self.client.get(self.url.clone())).await?;
        let worker: Worker = response
            .json()
            .await
            .map_err(|source| self.http(what, source))?;
        Ok(worker.version)
    }

    pub(crate) async fn config(
        &self,
        name: &str,
    ) -> Result<Option<BTreeMap<String, String>>, ConnectError> {
        self.get("reading a connector", &[name, "config"]).await
    }

    pub(crate) async fn put(&self, connector: &Connector) -> Result<(), ConnectError> {
        let put = self.client.put(self.url_of(&[&connector.name, "config"]));
        self.send("registering a connector", put.json(&connector.config))
            .await?;
        Ok(())
    }

    pub(crate) async fn status(&self, name: &str) -> Result<Option<Status>, ConnectError> {
        self.get("asking for a connector's status", &[name, "status"])
            .await
    }

    pub(crate) async fn restart_failed(&self, name: &str) -> Result<(), ConnectError> {
        let mut url = self.url_of(&[name, "restart"]);
        url.set_query(Some("includeTasks=true&onlyFailed=true"));
        self.send("restarting a connector", self.client.post(url))
            .await?;
        Ok(())
    }

    /// Returns whether it was there.
    pub(crate) async fn delete(&self, name: &str) -> Result<bool, ConnectError> {
        let delete = self.client.delete(self.url_of(&[name]));
        match self.send("deleting a connector", delete).await {
            Ok(_) => Ok(true),
            Err(ConnectError::Refused { status, .. }) if status == StatusCode::NOT_FOUND => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// How far the log is published: Kafka has acknowledged everything that was committed before. None while the
    /// connector takes a snapshot.
    pub(super) async fn published(&self, name: &str) -> Result<Option<PgLsn>, ConnectError> {
        let offsets: Option<Offsets> = self
            .get("reading a connector's offset", &[name, "offsets"])
            .await?;
        Ok(offsets.and_then(Offsets::published))
    }

    async fn get<T: DeserializeOwned>(
        &self,
        what: &'static str,
        path: &[&str],
    ) -> Result<Option<T>, ConnectError> {
        let response = match self.send(what, self.client.get(self.url_of(path))).await {
            Ok(response) => response,
            Err(ConnectError::Refused { status, .. }) if status == StatusCode::NOT_FOUND => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let read = response.json().await;
        read.map(Some).map_err(|source| self.http(what, source))
    }

    fn url_of(&self, path: &[&str]) -> Url {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("connectors").extend(path);
        }
        url
    }

    async fn send(
        &self,
        what: &'static str,
        request: RequestBuilder,
    ) -> Result<reqwest::Response, ConnectError> {
        #[derive(Deserialize)]
        struct Error {
            message: String,
        }
        let response = request
            .send()
            .await
            .map_err(|source| self.http(what, source))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let message = match response.json::<Error>().await {
            Ok(Error { message }) => message,
            Err(_) => "it does not say why".to_owned(),
        };
        Err(ConnectError::Refused {
            what,
            status,
            message,
        })
    }

    fn http(&self, what: &'static str, source: reqwest::Error) -> ConnectError {
        ConnectError::Http {
            url: self.url.clone(),
            what,
            source: source.without_url(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Status {
    connector: Part,
    tasks: Vec<Part>,
}

/// The connector, or one of its tasks.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Part {
    state: String,
    #[serde(default)]
    trace: String,
}

/// What follows from a [`Status`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Runs,
    Starts,
    Failed(String),
    Paused(String),
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "state: {}", self.connector)?;
        for (number, task) in self.tasks.iter().enumerate() {
            write!(f, "\ntask {number}: {task}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.state)?;
        if self.trace.is_empty() {
            Ok(())
        } else {
            write!(f, ": {}", reason(&self.trace))
        }
    }
}

impl Status {
    pub(crate) fn verdict(&self) -> Verdict {
        let parts = || std::iter::once(&self.connector).chain(&self.tasks);
        if let Some(failed) = parts().find(|part| part.state == "FAILED") {
            return Verdict::Failed(reason(&failed.trace));
        }
        if let Some(paused) =
            parts().find(|part| ["PAUSED", "STOPPED"].contains(&part.state.as_str()))
        {
            return Verdict::Paused(paused.state.clone());
        }
        if self.tasks.is_empty() || parts().any(|part| part.state != "RUNNING") {
            return Verdict::Starts;
        }
        Verdict::Runs
    }
}

/// What a person wants to know of a Java stack trace: what failed, and its first cause.
fn reason(trace: &str) -> String {
    let what = trace.lines().next().unwrap_or("it does not say why").trim();
    let cause = trace
        .lines()
        .rev()
        .find_map(|line| line.trim().strip_prefix("Caused by: "));
    match cause {
        Some(cause) => format!("{what}; caused by {}", cause.trim()),
        None => what.to_owned(),
    }
}

#[derive(Debug, Deserialize)]
struct Offsets {
    offsets: Vec<Offset>,
}

#[derive(Debug, Deserialize)]
struct Offset {
    offset: Option<Position>,
}

#[derive(Debug, Deserialize)]
struct Position {
    /// Set while the record is one of a snapshot.
    snapshot: Option<serde_json::Value>,
    /// The last commit before the record.
    lsn_commit: Option<u64>,
}

impl Offsets {
    fn published(self) -> Option<PgLsn> {
        let position = self.offsets.into_iter().next()?.offset?;
        if position.snapshot.is_some() {
            return None;
        }
        position.lsn_commit.map(PgLsn::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(connector: &str, tasks: &[(&str, &str)]) -> Verdict {
        let part = |state: &str, trace: &str| Part {
            state: state.to_owned(),
            trace: trace.to_owned(),
        };
        let tasks = tasks
            .iter()
            .map(|(state, trace)| part(state, trace))
            .collect();
        Status {
            connector: part(connector, ""),
            tasks,
        }
        .verdict()
    }

    #[test]
    fn a_connector_runs_when_all_of_it_does() {
        assert_eq!(verdict("RUNNING", &[("RUNNING", "")]), Verdict::Runs);
        for starting in ["UNASSIGNED", "RESTARTING"] {
            assert_eq!(verdict("RUNNING", &[(starting, "")]), Verdict::Starts);
            assert_eq!(verdict(starting, &[("RUNNING", "")]), Verdict::Starts);
        }
        assert_eq!(verdict("RUNNING", &[]), Verdict::Starts);
        assert_eq!(
            verdict("PAUSED", &[("PAUSED", "")]),
            Verdict::Paused("PAUSED".to_owned())
        );
        assert_eq!(
            verdict("STOPPED", &[]),
            Verdict::Paused("STOPPED".to_owned())
        );
    }

    #[test]
    fn a_failed_task_says_why_in_one_line() {
        let trace = "org.apache.kafka.connect.errors.ConnectException: Unrecoverable exception\n\
            \tat org.apache.kafka.Worker.run(Worker.java:1)\n\
            Caused by: org.apache.kafka.common.errors.RecordTooLargeException: 2000 bytes\n\
            \tat org.apache.kafka.Sender.run(Sender.java:2)\n\t... 9 more\n";
        let reason = "org.apache.kafka.connect.errors.ConnectException: Unrecoverable exception; caused by \
            org.apache.kafka.common.errors.RecordTooLargeException: 2000 bytes";
        assert_eq!(
            verdict("RUNNING", &[("FAILED", trace)]),
            Verdict::Failed(reason.to_owned())
        );
        let silent = Verdict::Failed("it does not say why".to_owned());
        assert_eq!(
            verdict("RUNNING", &[("RUNNING", ""), ("FAILED", "")]),
            silent
        );
    }

    #[test]
    fn nothing_counts_as_published_before_a_snapshot_is_through() {
        for (response, published) in [
            (r#"{"offsets":[]}"#, None),
            (
                r#"{"offsets":[{"partition":{"server":"a"},"offset":null}]}"#,
                None,
            ),
            (
                r#"{"offsets":[{"offset":{"snapshot":"INITIAL","snapshot_completed":false,"lsn":7,"lsn_commit":7}}]}"#,
                None,
            ),
            (r#"{"offsets":[{"offset":{"lsn":7,"txId":1}}]}"#, None),
            (
                r#"{"offsets":[{"offset":{"lsn_proc":9,"lsn_commit":8,"lsn":9}}]}"#,
                Some(PgLsn::from(8)),
            ),
        ] {
            let offsets: Offsets = serde_json::from_str(response).unwrap();
            assert_eq!(offsets.published(), published, "{response}");
        }
    }
}
