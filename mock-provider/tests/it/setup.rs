//! A provider to test: in this process, or the binary in a process of its own.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chassis::hosts::Hosts;
use mock_provider::{Provider, ProviderConfig};
use reqwest::{Client, Method};
use serde_json::{Value, json};

/// How long anything that is awaited may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// A provider in this process, on a port of its own, without a journal.
pub(crate) async fn provider() -> (Provider, Api) {
    let provider = Provider::start(ProviderConfig {
        listen: "127.0.0.1:0".to_owned(),
        journal: None,
        hosts: Hosts::default(),
    })
    .await
    .unwrap();
    let api = Api::new(provider.url());
    (provider, api)
}

/// A client of a provider.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) url: String,
    pub(crate) http: Client,
}

/// An answer, read whole.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Reply {
    /// The slug of a problem's type.
    pub(crate) fn problem(&self) -> &str {
        let kind = self.body["type"].as_str().unwrap_or_default();
        assert_eq!(self.body["status"], self.status, "{self:?}");
        kind.strip_prefix("urn:problem:").unwrap()
    }
}

impl Api {
    pub(crate) fn new(url: String) -> Self {
        let http = Client::builder()
            .no_proxy()
            .timeout(DEADLINE)
            .build()
            .unwrap();
        Self { url, http }
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Reply {
        reply(request.send().await.unwrap()).await
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        self.http.request(method, format!("{}{path}", self.url))
    }

    pub(crate) fn payment(&self, key: &str, body: &Value) -> reqwest::RequestBuilder {
        self.request("POST", "/payments")
            .header("Idempotency-Key", key)
            .json(body)
    }

    pub(crate) async fn pay(&self, key: &str) -> Reply {
        self.send(self.payment(key, &bill("100.00"))).await
    }

    pub(crate) async fn cancel(&self, key: &str) -> Reply {
        self.send(self.request("POST", &format!("/payments/{key}/cancel")))
            .await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(self.request("GET", path)).await
    }

    pub(crate) async fn behave(&self, behaviour: Value) -> Reply {
        self.send(self.request("PUT", "/behaviour").json(&behaviour))
            .await
    }

    /// The counts of calls and of accepted payments.
    pub(crate) async fn counts(&self) -> (u64, u64) {
        let body = self.get("/payments").await.body;
        (
            body["calls"].as_u64().unwrap(),
            body["accepted"].as_u64().unwrap(),
        )
    }
}

pub(crate) async fn reply(response: reqwest::Response) -> Reply {
    let status = response.status().as_u16();
    let content_type = response.headers().get("content-type").cloned();
    let bytes = response.bytes().await.unwrap();
    let expected = match status {
        204 => None,
        200..=299 => Some("application/json"),
        _ => Some("application/problem+json"),
    };
    assert_eq!(
        content_type.as_ref().map(|it| it.to_str().unwrap()),
        expected,
        "{status}"
    );
    let body = match expected {
        None => Value::Null,
        Some(_) => serde_json::from_slice(&bytes).unwrap(),
    };
    Reply { status, body }
}

/// A body of `POST /payments`.
pub(crate) fn bill(amount: &str) -> Value {
    json!({"amount": amount, "currency": "INR", "provider": "wifi", "account_number": "WIFI-1"})
}

/// Looks until `look` has found what is awaited; `Err` tells the last state seen.
pub(crate) async fn eventually<T>(
    what: &str,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) if Instant::now() > deadline => {
                panic!("still not {what} after {DEADLINE:?}; last seen: {seen}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// A folder that is deleted at the end.
pub(crate) struct TestFolder(PathBuf);

impl TestFolder {
    pub(crate) fn new() -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(uuid::Uuid::now_v7().to_string());
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.0.join("journal")
    }
}

impl Drop for TestFolder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// The binary, running. Killed at the end.
pub(crate) struct Process {
    child: Child,
    output: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// Starts the binary with its output as JSON lines; `prepare` is shell to run in its process before.
    pub(crate) fn start(prepare: &str, listen: &str, journal: Option<&Path>) -> Self {
        let mut command = Command::new("bash");
        command
            .args(["-c", &format!("{prepare}\nexec \"$0\"")])
            .arg(env!("CARGO_BIN_EXE_mock-provider"))
            .env("LISTEN", listen)
            .env("LOG", "info")
            .env("LOG_FORMAT", "json")
            .env_remove("PROVIDER_JOURNAL")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(journal) = journal {
            command.env("PROVIDER_JOURNAL", journal);
        }
        let mut child = command.spawn().unwrap();
        let output = Arc::new(Mutex::new(Vec::new()));
        collect(child.stdout.take().unwrap(), &output);
        collect(child.stderr.take().unwrap(), &output);
        Self { child, output }
    }

    /// Starts the binary on a port of its own and waits until it listens.
    pub(crate) async fn ready(prepare: &str, journal: Option<&Path>) -> (Self, Api) {
        let mut process = Self::start(prepare, "127.0.0.1:0", journal);
        let address = eventually("listening", async || {
            let line = process.line("listening");
            let ended = process.child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {:?}", process.output());
            line.map(|line| line["address"].as_str().unwrap().to_owned())
                .ok_or_else(|| format!("{:?}", process.output()))
        })
        .await;
        (process, Api::new(format!("http://{address}")))
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn output(&self) -> Vec<String> {
        self.output.lock().unwrap().clone()
    }

    /// The first log line with that message.
    pub(crate) fn line(&self, message: &str) -> Option<Value> {
        self.output()
            .iter()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .find(|line| line["message"] == message)
    }

    pub(crate) fn kill_9(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn terminate(&self) {
        let pid = nix::unistd::Pid::from_raw(self.id().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        eventually("ended", async || {
            let status = self.child.try_wait().unwrap();
            status.ok_or_else(|| format!("{:?}", self.output.lock().unwrap()))
        })
        .await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it has ended before.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Reads a process's output all along: a full pipe would stop it.
fn collect(output: impl std::io::Read + Send + 'static, lines: &Arc<Mutex<Vec<String>>>) {
    let lines = Arc::clone(lines);
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            lines.lock().unwrap().push(line);
        }
    });
}
