//! The server, by TCP: clients that are many, silent, slow or hostile.

#![expect(
    clippy::disallowed_methods,
    reason = "a test's server ends with its runtime"
)]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{JsonBody, app, serve};
use crate::config::HttpConfig;
use crate::health::{self, Readiness};

/// How long anything may take. Far more than it takes.
const DEADLINE: Duration = Duration::from_secs(30);

/// Far above [`DEADLINE`]: what the tests see is not these deadlines' doing.
const NEVER_MS: u64 = 600_000;

/// More than a client's and a server's kernel take in for a client that does not read.
const BIG_BYTES: usize = 64 * 1024 * 1024;

struct Server {
    address: SocketAddr,
    /// A request of `/gate` is let in by the first, and out by the second.
    entered: Arc<Semaphore>,
    gate: Arc<Semaphore>,
    stop: CancellationToken,
    ended: JoinHandle<()>,
}

fn metrics() -> PrometheusHandle {
    static INSTALLED: OnceLock<PrometheusHandle> = OnceLock::new();
    INSTALLED
        .get_or_init(|| crate::metrics::install("test").unwrap())
        .clone()
}

async fn start(config: HttpConfig) -> Server {
    let entered = Arc::new(Semaphore::new(0));
    let gate = Arc::new(Semaphore::new(0));
    let (entering, gate_of_route) = (Arc::clone(&entered), Arc::clone(&gate));
    let routes = Router::new()
        .route("/ok", get(async || "ok"))
        .route("/panic", get(panics))
        .route(
            "/gate",
            get(async move || {
                entering.add_permits(1);
                gate_of_route.acquire().await.unwrap().forget();
                "through"
            }),
        )
        .route("/big", get(async || vec![b'x'; BIG_BYTES]))
        .route(
            "/items/{id}",
            post(async |JsonBody(body): JsonBody<serde_json::Map<_, _>>| {
                serde_json::Value::Object(body).to_string()
            }),
        )
        .route("/order", post(async || "ok"));
    let operations = health::router(Readiness::new(), CancellationToken::new(), metrics());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let ended = tokio::spawn(async move {
        let app = app(routes, operations.clone(), &config);
        serve(listener, (app, operations), &config, stopped).await;
    });
    Server {
        address,
        entered,
        gate,
        stop,
        ended,
    }
}

/// At most `http_connections_max` connections, and clients that may be silent as long as they like.
fn patient(http_connections_max: usize) -> HttpConfig {
    HttpConfig {
        http_header_timeout_ms: NEVER_MS,
        http_write_timeout_ms: NEVER_MS,
        http_connections_max,
        ..HttpConfig::default()
    }
}

impl Server {
    /// A connection on which `text` was sent.
    async fn send(&self, text: impl AsRef<[u8]>) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text.as_ref()).await.unwrap();
        stream
    }

    /// What comes back until the server closes the connection.
    async fn exchange(&self, text: impl AsRef<[u8]>) -> String {
        rest_of(&mut self.send(text).await).await
    }

    async fn get(&self, path: &str) -> String {
        let text = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        self.exchange(text).await
    }

    /// A connection with a request that is in flight until the gate is opened.
    async fn in_flight(&self) -> TcpStream {
        let stream = self
            .send("GET /gate HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await;
        within(self.entered.acquire()).await.unwrap().forget();
        stream
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap()
}

async fn rest_of(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset counts as an end.
    drop(within(stream.read_to_end(&mut bytes)).await);
    String::from_utf8(bytes).unwrap()
}

async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end.as_bytes()) {
        assert_ne!(within(stream.read_buf(&mut bytes)).await.unwrap(), 0);
    }
    String::from_utf8(bytes).unwrap()
}

fn assert_status(answer: &str, status: u16) {
    assert!(
        answer.starts_with(&format!("HTTP/1.1 {status} "))
            || answer.starts_with(&format!("HTTP/1.0 {status} ")),
        "not {status}: {answer}"
    );
}

async fn panics() {
    std::hint::black_box(None::<()>).unwrap();
}

#[tokio::test]
async fn a_request_whose_handler_panics_is_answered_with_its_trace() {
    let server = start(HttpConfig::default()).await;
    let answer = server.get("/panic").await;
    assert_status(&answer, 500);
    assert!(answer.contains("\r\ntraceparent: 00-"), "{answer}");
}

#[tokio::test]
async fn silent_clients_make_room_for_others() {
    let server = start(patient(4)).await;
    let mut silent = Vec::new();
    for text in ["", "G", "GET /ok HTTP/1.1\r\nhost: loc"].repeat(20) {
        silent.push(server.send(text).await);
    }
    assert_status(&server.get("/livez").await, 200);
    assert_status(&server.get("/ok").await, 200);

    // The ones that are idle longest had to go, one with a request behind it among them.
    assert_eq!(rest_of(&mut silent[0]).await, "");
    let mut used = server
        .send("GET /ok HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    assert_status(&read_until(&mut used, "ok").await, 200);
    for _ in 0..4 {
        silent.push(server.send("").await);
    }
    assert_eq!(rest_of(&mut used).await, "");
}

#[tokio::test]
async fn a_request_in_flight_is_never_cut_off_to_make_room() {
    let server = start(patient(2)).await;
    let mut in_flight = [server.in_flight().await, server.in_flight().await];
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(server.send("").await);
    }
    // All places are at work: there is room for operations only, however many are silent there.
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_status(&server.get(path).await, 200);
    }
    let answer = server
        .exchange("GET /ok HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    assert_status(&answer, 503);
    assert!(
        answer.contains("urn:problem:too-many-connections"),
        "{answer}"
    );
    assert!(answer.contains("retry-after: 1"), "{answer}");

    server.gate.add_permits(2);
    for stream in &mut in_flight {
        assert_status(&read_until(stream, "through").await, 200);
    }
    // A new connection may now have a place of an idle one.
    assert_status(&server.get("/ok").await, 200);
}

#[tokio::test]
async fn an_answer_that_is_being_read_is_never_cut_off_to_make_room() {
    let server = start(patient(1)).await;
    let mut reader = server
        .send("GET /big HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await;
    let mut begin = [0; 12];
    within(reader.read_exact(&mut begin)).await.unwrap();
    // The body is in the server's hands, most of it unwritten.
    assert_status(&server.get("/ok").await, 503);
    assert!(rest_of(&mut reader).await.len() > BIG_BYTES);
}

#[tokio::test]
async fn a_client_that_reads_nothing_loses_its_place() {
    let server = start(HttpConfig {
        http_write_timeout_ms: 200,
        ..patient(1)
    })
    .await;
    let request = "GET /big HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut stalled = server.send(request.repeat(3)).await;
    let mut begin = [0; 12];
    within(stalled.read_exact(&mut begin)).await.unwrap();
    assert_status(&server.get("/ok").await, 503);
    within(async {
        while !server.get("/ok").await.starts_with("HTTP/1.1 200 ") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(rest_of(&mut stalled).await.len() < BIG_BYTES);
}

#[tokio::test]
async fn half_a_request_does_not_hold_up_the_stop() {
    let server = start(patient(10)).await;
    let mut half = server.send("GET /ok HTTP/1.1\r\nhost: loc").await;
    let mut in_flight = server.in_flight().await;
    server.stop.cancel();
    assert_eq!(rest_of(&mut half).await, "");
    server.gate.add_permits(1);
    assert_status(&read_until(&mut in_flight, "through").await, 200);
    within(server.ended).await.unwrap();
}

#[tokio::test]
async fn a_request_names_one_host_and_a_name_of_the_service() {
    let server = start(patient(10)).await;
    let status = async |target: &str, headers: &str, status| {
        let text = format!("GET {target} HTTP/1.1\r\n{headers}connection: close\r\n\r\n");
        assert_status(&server.exchange(text).await, status);
    };
    for (any_host_status, path) in [
        (421, "/ok"),
        (421, "/nothing"),
        (200, "/livez"),
        (200, "/metrics"),
    ] {
        status(path, "host: evil.example\r\n", any_host_status).await;
        status(path, "", 400).await;
        status(path, "host: localhost\r\nhost: localhost\r\n", 400).await;
        status(path, "host: localhost\r\nhost: evil.example\r\n", 400).await;
        status(path, "host: local host\r\n", 400).await;
        status(path, "host: \r\n", 400).await;
        let absolute = format!("http://evil.example{path}");
        status(&absolute, "host: localhost\r\n", 400).await;
        status(&absolute, "", 400).await;
        status(&absolute, "host: evil.example\r\n", any_host_status).await;
    }
    status("http://localhost:8080/ok", "host: localhost:8080\r\n", 200).await;
    assert_status(&server.exchange("GET /livez HTTP/1.0\r\n\r\n").await, 200);
    assert_status(&server.exchange("GET /ok HTTP/1.0\r\n\r\n").await, 400);

    let answer =
        server.exchange("GET /ok HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n");
    let answer = answer.await;
    assert!(answer.contains("urn:problem:wrong-host"), "{answer}");
    assert!(answer.contains("HTTP_HOSTS"), "{answer}");
}

/// An answer to a POST with these headers, their bytes as they are.
async fn post_with(server: &Server, path: &str, headers: &[u8], body: &[u8]) -> String {
    let length = format!("content-length: {}\r\n", body.len());
    let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{length}");
    let text = [head.as_bytes(), headers, b"\r\n", body].concat();
    server.exchange(text).await
}

#[tokio::test]
async fn another_site_s_page_can_order_nothing() {
    let server = start(patient(10)).await;
    for headers in [
        "origin: http://evil.example\r\n",
        "origin: null\r\n",
        "sec-fetch-site: cross-site\r\n",
    ] {
        let headers = format!("x-operator: asha\r\n{headers}");
        let answer = post_with(&server, "/order", headers.as_bytes(), b"").await;
        assert_status(&answer, 403);
        assert!(answer.contains("urn:problem:cross-origin"), "{answer}");
    }
    for headers in [
        "",
        "origin: http://localhost\r\nsec-fetch-site: same-origin\r\n",
    ] {
        let headers = format!("x-operator: asha\r\n{headers}");
        assert_status(
            &post_with(&server, "/order", headers.as_bytes(), b"").await,
            200,
        );
    }
}

#[tokio::test]
async fn a_compressed_body_is_told_so() {
    let server = start(patient(10)).await;
    let json = "content-type: application/json\r\n";
    for encoding in [
        "gzip",
        "br",
        "identity, gzip",
        "identity\r\ncontent-encoding: zstd",
        "\u{e9}",
    ] {
        let headers = format!("{json}content-encoding: {encoding}\r\n");
        let answer = post_with(&server, "/items/1", headers.as_bytes(), b"\x1f\x8b").await;
        assert_status(&answer, 415);
        assert!(answer.contains("Content-Encoding"), "{answer}");
    }
    let chunked = |coding| {
        format!(
            "POST /items/1 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{json}\
             transfer-encoding: {coding}\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"
        )
    };
    assert_status(&server.exchange(chunked("gzip, chunked")).await, 501);
    assert_status(&server.exchange(chunked("chunked")).await, 200);
    for encoding in ["identity", "Identity"] {
        let headers = format!("{json}content-encoding: {encoding}\r\n");
        assert_status(
            &post_with(&server, "/items/1", headers.as_bytes(), b"{}").await,
            200,
        );
    }
}

/// The values of all labels of the server in `text`, as `name=value`, but for those of histograms' buckets.
fn labels(text: &str) -> BTreeSet<String> {
    // The recorder is the process's: other modules' tests count there, too.
    let series = text.lines().filter(|line| line.starts_with("http_"));
    let labels = series.filter_map(|line| line.split_once('{')?.1.rsplit_once('}'));
    let labels = labels.flat_map(|(labels, _)| labels.split("\","));
    let labels = labels.map(|label| label.replace('"', ""));
    labels.filter(|label| !label.starts_with("le=")).collect()
}

#[tokio::test]
async fn hostile_requests_make_no_labels_of_their_own() {
    let server = start(patient(10)).await;
    let requests = |number: usize| {
        let host = "host: localhost\r\n";
        let ends = format!("{host}traceparent: {number}\r\nx-operator: {number}\r\n\r\n");
        [
            format!("M{number} /ok HTTP/1.1\r\n{ends}"),
            format!("M{number} /items/{number} HTTP/1.1\r\n{ends}"),
            format!("GET /path/{number}?{number} HTTP/1.1\r\n{ends}"),
            format!("get /ok HTTP/1.1\r\n{ends}"),
            format!("DELETE /items/{number} HTTP/1.1\r\n{ends}"),
            format!("GET /ok HTTP/1.1\r\nhost: h{number}.example\r\n\r\n"),
        ]
        .concat()
    };
    let mut text: String = (0..200).map(requests).collect();
    text += "GET /ok HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let answers = server.exchange(text).await;
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 6 * 200 + 1);

    let methods = [
        "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "other",
    ];
    let routes = [
        "/ok",
        "/panic",
        "/gate",
        "/big",
        "/items/{id}",
        "/order",
        "unknown",
    ];
    // The recorder is the process's: the other tests' requests are in it, too.
    let statuses = [
        "200", "400", "403", "404", "405", "415", "421", "500", "501",
    ];
    let closed: BTreeSet<String> = [
        ("method", &methods[..]),
        ("route", &routes),
        ("status", &statuses),
    ]
    .into_iter()
    .flat_map(|(name, values)| values.iter().map(move |value| format!("{name}={value}")))
    .collect();
    let seen = labels(&server.get("/metrics").await);
    assert!(seen.contains("method=other"), "{seen:?}");
    assert!(seen.is_subset(&closed), "{:?}", seen.difference(&closed));
}
